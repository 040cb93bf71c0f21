//! What processes and the machine used, from Linux's `/proc`.

use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// What a process used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    /// User and system time of all its threads.
    pub(super) cpu: Duration,
    /// Resident memory, bytes.
    pub(super) rss: u64,
}

/// What process `pid` used; none if there is no such process (or no `/proc`).
pub(super) fn usage(pid: u32) -> Option<Usage> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Usage> {
    // The name stands in brackets and may contain anything; fields are counted behind it.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // A process that has died and was not waited for uses nothing any more.
    if fields.first() == Some(&"Z") {
        return None;
    }
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)?;
    let cpu = Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
    Some(Usage { cpu, rss: number(24)? * page_size() as u64 })
}

/// Time of all CPUs of the machine since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Spent on anything.
    pub(super) busy: Duration,
    /// Taken by the hypervisor.
    pub(super) steal: Duration,
}

/// The machine's times; zero where there is no `/proc`.
pub(super) fn machine() -> Machine {
    std::fs::read_to_string("/proc/stat").ok().and_then(|text| parse_machine(&text)).unwrap_or_default()
}

fn parse_machine(text: &str) -> Option<Machine> {
    let fields: Vec<u64> = text
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_ascii_whitespace()
        .map_while(|field| field.parse().ok())
        .collect();
    let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / clock_ticks_per_second() as f64);
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|field| fields.get(*field)).sum();
    Some(Machine { busy: time(busy), steal: time(fields.get(7).copied().unwrap_or(0)) })
}

/// The processor's name.
pub(super) fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned())
}

/// CPU of a process that may be replaced by another one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    pid: Option<u32>,
    last: Duration,
    /// CPU since the meter's first reading.
    pub(super) cpu: Duration,
    /// Resident memory at the last reading, bytes; zero while it is down.
    pub(super) rss: u64,
    /// The largest reading.
    pub(super) peak: u64,
}

impl Meter {
    /// Reads what `pid` used.
    pub(super) fn read(&mut self, pid: Option<u32>) {
        let Some((pid, usage)) = pid.and_then(|pid| Some((pid, usage(pid)?))) else {
            self.rss = 0;
            return;
        };
        let since = match self.pid {
            Some(known) if known == pid => self.last,
            // What another one used before it was first seen is not this run's.
            None => usage.cpu,
            Some(_) => Duration::ZERO,
        };
        self.cpu += usage.cpu.saturating_sub(since);
        self.pid = Some(pid);
        self.last = usage.cpu;
        self.rss = usage.rss;
        self.peak = self.peak.max(usage.rss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_and_the_machine_are_read() {
        let own = usage(std::process::id()).unwrap();
        assert!(own.rss > 1 << 20, "{own:?}");
        assert!(usage(u32::MAX).is_none());
        assert!(machine().busy > Duration::ZERO);
        let dead = "7 (a ) b) Z 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24";
        assert_eq!(parse_stat(dead), None);
        let stat = dead.replace(" Z ", " S ");
        let tick = Duration::from_secs_f64(1.0 / clock_ticks_per_second() as f64);
        assert_eq!(parse_stat(&stat), Some(Usage { cpu: tick * 23, rss: 21 * page_size() as u64 }));
    }
}
