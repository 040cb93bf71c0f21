//! The seams Chain, Consenter and ConsenterSupport, and the consenters behind them.
