//! Reads a replica's operations listener: one HTTP GET at a time, no connection kept.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Largest answer taken, bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// Why an operations listener gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum OperationsError {
    /// Nobody answers.
    #[error("no answer from http://{address}{path}: {reason}")]
    NoAnswer {
        /// The listener.
        address: String,
        /// What was asked for.
        path: String,
        /// Why.
        reason: String,
    },
    /// It answers something that is not asked for.
    #[error("http://{address}{path} answered {answer}")]
    Unexpected {
        /// The listener.
        address: String,
        /// What was asked for.
        path: String,
        /// The status line, or what is wrong with the body.
        answer: String,
    },
}

/// GETs `path` from `address` (`host:port`) and returns status code and body.
///
/// HTTP/1.0 keeps this to one request and one answer that ends with the connection.
///
/// # Errors
/// When nobody answers in three seconds, or the answer is no HTTP.
pub async fn get(address: &str, path: &str) -> Result<(u16, String), OperationsError> {
    let no_answer = |reason: String| OperationsError::NoAnswer {
        address: address.to_owned(),
        path: path.to_owned(),
        reason,
    };
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: */*\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| no_answer(format!("nothing within {} s", TIMEOUT.as_secs())))?
        .map_err(|error| no_answer(error.to_string()))?;
    let text = String::from_utf8_lossy(&answer);
    let unexpected = |answer: &str| OperationsError::Unexpected {
        address: address.to_owned(),
        path: path.to_owned(),
        answer: answer.to_owned(),
    };
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| unexpected("no HTTP header"))?;
    let status_line = head.lines().next().unwrap_or_default();
    let code = status_line
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| unexpected(status_line))?;
    Ok((code, body.to_owned()))
}
