//! `--lie` and `--liar`: replicas that lie, in builds with the feature `liar` only.

use std::fmt;

#[cfg(feature = "liar")]
pub(super) use crate::liar::Lie;

/// This build knows no lies.
#[cfg(not(feature = "liar"))]
#[derive(Clone, Debug)]
pub(super) enum Lie {}

#[cfg(not(feature = "liar"))]
impl fmt::Display for Lie {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

/// What a build that cannot lie says.
#[cfg(not(feature = "liar"))]
pub(super) const HONEST: &str = "this program was built without liars, as every program that orders for anybody is; \
     for measurements build one with them: cargo run --release --features liar -- ...";

/// Reads a lie.
///
/// # Errors
/// What is wrong with it, and which there are.
#[cfg(feature = "liar")]
pub(super) fn lie(text: &str) -> Result<Lie, String> {
    text.parse()
}

/// Refuses every lie.
///
/// # Errors
/// Always.
#[cfg(not(feature = "liar"))]
pub(super) fn lie(_: &str) -> Result<Lie, String> {
    Err(HONEST.to_owned())
}

/// Makes this process a liar if there are lies: at once, or from a SIGUSR1 on.
///
/// # Errors
/// When the signal cannot be waited for.
#[cfg(feature = "liar")]
pub(super) fn begin(lies: Vec<Lie>, on_signal: bool) -> anyhow::Result<()> {
    use anyhow::Context as _;
    use tokio::signal::unix::{SignalKind, signal};
    if lies.is_empty() {
        return Ok(());
    }
    let liar = crate::liar::Liar::install(lies);
    if !on_signal {
        liar.begin();
        return Ok(());
    }
    let mut told = signal(SignalKind::user_defined1()).context("cannot listen for SIGUSR1")?;
    tokio::spawn(async move {
        if told.recv().await.is_some() {
            liar.begin();
        }
    });
    Ok(())
}

/// There are no lies to begin with.
///
/// # Errors
/// Never.
#[cfg(not(feature = "liar"))]
pub(super) fn begin(_: Vec<Lie>, _: bool) -> anyhow::Result<()> {
    Ok(())
}

/// Whatever is given to a command that this build does not have.
#[cfg(not(feature = "liar"))]
#[derive(Debug, clap::Args)]
pub(super) struct Refused {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<String>,
}

/// Says why, and gives the exit status of wrong usage.
#[cfg(not(feature = "liar"))]
pub(super) fn refuse() -> std::process::ExitCode {
    eprintln!("sbft: {HONEST}");
    std::process::ExitCode::from(2)
}

/// A replica of a network that lies.
#[derive(Clone, Debug)]
pub(super) struct Liar {
    /// Its consenter id.
    pub(super) id: u32,
    /// What it lies.
    pub(super) lies: Vec<Lie>,
    /// It is honest until a SIGUSR1 comes.
    pub(super) on_signal: bool,
}

impl Liar {
    /// Reads `ID=LIE[,LIE...]`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (id, lies) = text.split_once('=').ok_or("write ID=LIE, for example 1=silent")?;
        let id = id.parse().map_err(|_| format!("\"{id}\" is no replica's id"))?;
        let lies = lies.split(',').map(lie).collect::<Result<_, _>>()?;
        Ok(Self { id, lies, on_signal: false })
    }

    /// What its process is told.
    pub(super) fn arguments(&self) -> Vec<String> {
        let lies = self.lies.iter().flat_map(|lie| ["--lie".to_owned(), lie.to_string()]);
        lies.chain(self.on_signal.then(|| "--lie-on-signal".to_owned())).collect()
    }
}

/// As it is written for [`Liar::parse`].
impl fmt::Display for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lies: Vec<_> = self.lies.iter().map(Lie::to_string).collect();
        write!(f, "{}={}", self.id, lies.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_liar_is_read_or_refused_with_the_reason() {
        assert!(Liar::parse("silent").unwrap_err().contains("1=silent"));
        assert!(Liar::parse("x=silent").unwrap_err().contains("no replica's id"));
        let read = Liar::parse("2=silent,slow-primary:90ms");
        #[cfg(feature = "liar")]
        {
            let liar = read.unwrap();
            assert_eq!(liar.to_string(), "2=silent,slow-primary:90ms");
            assert_eq!(liar.arguments(), ["--lie", "silent", "--lie", "slow-primary:90ms"]);
        }
        #[cfg(not(feature = "liar"))]
        assert!(read.unwrap_err().contains("--features liar"));
    }
}
