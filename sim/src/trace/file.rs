//! Trace files: newline-delimited JSON, the header first, then an event a line.

use std::fmt;
use std::io::{self, BufRead, Write};

use super::event::{Event, Header};

/// The version of the format that this code writes and reads.
pub const VERSION: u32 = 1;

/// Why a trace could not be read: in which line, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// What is wrong.
    pub text: String,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.text),
            line => write!(f, "line {line}: {}", self.text),
        }
    }
}

impl std::error::Error for ReadError {}

/// Writes a trace.
pub fn write(out: &mut impl Write, header: &Header, events: &[Event]) -> io::Result<()> {
    serde_json::to_writer(&mut *out, header)?;
    out.write_all(b"\n")?;
    for event in events {
        serde_json::to_writer(&mut *out, event)?;
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Reads a trace.
pub fn read(input: impl BufRead) -> Result<(Header, Vec<Event>), ReadError> {
    let mut lines = input.lines().enumerate();
    let fails = |line: usize, text: String| ReadError { line: line + 1, text };
    let Some((_, first)) = lines.next() else {
        return Err(ReadError {
            line: 0,
            text: "the file is empty; a trace begins with a header".to_owned(),
        });
    };
    let first = first.map_err(|error| fails(0, error.to_string()))?;
    let header: Header = serde_json::from_str(&first).map_err(|error| {
        fails(0, format!("no trace of sbft-sim, whose first line is a header: {}", plainly(&error)))
    })?;
    if header.sbft_sim_trace != VERSION {
        let text = format!(
            "written in version {} of the format, this program reads version {VERSION}",
            header.sbft_sim_trace
        );
        return Err(fails(0, text));
    }
    let mut events = Vec::new();
    for (at, line) in lines {
        let line = line.map_err(|error| fails(at, error.to_string()))?;
        if line.trim().is_empty() {
            continue;
        }
        let event: Event = serde_json::from_str(&line)
            .map_err(|error| fails(at, format!("no event: {}", plainly(&error))))?;
        if let Some(body) = event.body.filter(|body| *body >= header.bodies.len()) {
            let text = format!("at body {body}, but the header names {} bodies", header.bodies.len());
            return Err(fails(at, text));
        }
        events.push(event);
    }
    Ok((header, events))
}

/// The error without the line within the line, which is always 1.
fn plainly(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}

#[cfg(test)]
mod tests {
    use super::super::event::{About, BodyInfo, What};
    use super::*;
    use crate::network::Kind;

    fn sample() -> (Header, Vec<Event>) {
        let header = Header {
            sbft_sim_trace: VERSION,
            seed: 7,
            n: 1,
            bodies: vec![BodyInfo { name: "r0".to_owned(), honest: true, ..BodyInfo::default() }],
            ..Header::default()
        };
        let message = About {
            kind: Kind::Prepare,
            view: 0,
            number: 3,
            digest: Some("00c0ffee".to_owned()),
            more: String::new(),
            bad: true,
        };
        let sent = What::Send { to: 0, message: message.clone(), arrives: vec![4, 9], lost: None };
        let events = vec![
            Event { id: 1, at: 0, body: Some(0), cause: None, what: What::Timer },
            Event { id: 2, at: 1, body: Some(0), cause: Some(1), what: sent },
            Event {
                id: 3,
                at: 4,
                body: None,
                cause: Some(2),
                what: What::Deliver { from: 0, sent: 2, message },
            },
        ];
        (header, events)
    }

    fn written() -> String {
        let (header, events) = sample();
        let mut bytes = Vec::new();
        write(&mut bytes, &header, &events).expect("a vector takes all");
        String::from_utf8(bytes).expect("JSON is UTF-8")
    }

    #[test]
    fn a_trace_comes_back_as_it_was_written() {
        assert_eq!(read(written().as_bytes()), Ok(sample()));
    }

    #[test]
    fn an_event_is_one_flat_line() {
        let text = written();
        let third = text.lines().nth(2).expect("header and three events");
        assert_eq!(
            third,
            r#"{"id":2,"at":1,"body":0,"cause":1,"what":"send","to":0,"message":{"kind":"prepare","number":3,"digest":"00c0ffee","bad":true},"arrives":[4,9]}"#
        );
    }

    #[test]
    fn a_mistake_is_reported_with_its_line() {
        let cut = &written()[..written().len() - 20];
        assert_eq!(read(cut.as_bytes()).expect_err("the last line is cut").line, 4);
        let other = written().replace("\"what\":\"timer\"", "\"what\":\"dance\"");
        let error = read(other.as_bytes()).expect_err("no such event").to_string();
        assert!(error.starts_with("line 2: no event: unknown variant `dance`"), "{error}");
        let error = read("hello\n".as_bytes()).expect_err("no header").to_string();
        assert!(error.starts_with("line 1: no trace of sbft-sim"), "{error}");
        assert_eq!(read("".as_bytes()).expect_err("nothing").line, 0);
        let newer = written().replacen(":1,", ":2,", 1);
        assert!(read(newer.as_bytes()).expect_err("newer").text.contains("version 2"));
        let body = written().replace("\"body\":0,\"what\":\"timer\"", "\"body\":8,\"what\":\"timer\"");
        assert!(read(body.as_bytes()).expect_err("no body 8").text.contains("at body 8"));
    }
}
