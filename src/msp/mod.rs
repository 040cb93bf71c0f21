//! Identities of organizations' members: X.509 chains, revocation, node OUs, principals.
