//! Who is a member, in which role, and who is refused for what.
