//! The operations listener: health, version, log filter, metrics and status over plain HTTP.

use tracing_subscriber::EnvFilter;

/// Reads a log filter; the error says what is wrong with it.
pub fn parse_filter(text: &str) -> Result<EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("is empty; write a level such as \"info\"".to_owned());
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{error}; write levels such as \"info,sbft::pbft=debug\""))
}
