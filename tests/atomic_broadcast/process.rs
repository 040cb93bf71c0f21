//! The program itself: `sbft node`.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use sbft::client::operations::get;
use sbft::node_config::{LogFormat, NodeConfig};

use crate::client::Client;
use crate::node::network;
use crate::world::{APPLICATION, DEADLINE, Member};

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// The configuration as a file, with ports that were free a moment ago.
fn write(config: &mut NodeConfig, directory: &Path) -> PathBuf {
    config.listen.grpc = free_port();
    config.listen.ops = free_port();
    config.listen.quic = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    config.log.format = LogFormat::Json;
    let file = directory.join("node.toml");
    std::fs::write(&file, config.to_toml()).unwrap();
    file
}

/// The process; killed if the test fails before it ends by itself.
struct Process(Option<Child>);

impl Process {
    fn start(config: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sbft"));
        command.arg("node").arg("--config").arg(config);
        Self(Some(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        ))
    }

    /// SIGTERM, then its end.
    async fn terminate(mut self) -> Output {
        let child = self.0.take().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        output(child).await
    }

    async fn end(mut self) -> Output {
        output(self.0.take().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

async fn output(child: Child) -> Output {
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output());
    tokio::time::timeout(DEADLINE, ended).await.expect("the process ends in time").unwrap().unwrap()
}

/// Asks until the node says that it is ready.
async fn ready(ops: SocketAddr) {
    let asked = async {
        while !matches!(get(&ops.to_string(), "/healthz").await, Ok((200, _))) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(DEADLINE, asked).await.expect("the node is ready in time");
}

#[tokio::test]
async fn the_program_orders_counts_logs_json_and_ends_cleanly_when_told_to() {
    let (directory, material, mut config) = network();
    let file = write(&mut config, directory.path());
    let process = Process::start(&file);
    ready(config.listen.ops).await;
    let member = Member::open(&material.layout.application().client(1), APPLICATION);
    let client = Client::connect(config.listen.grpc).await;
    let mut stream = client.broadcast().await;
    for _ in 0..3 {
        stream.accepted(member.envelope(b"x").await).await;
    }
    let ops = config.listen.ops.to_string();
    let text = get(&ops, "/metrics").await.unwrap().1;
    let line =
        "broadcast_processed_count{channel=\"orders\",type=\"ENDORSER_TRANSACTION\",status=\"SUCCESS\"} 3";
    assert!(text.contains(line), "{text}");
    for name in ["broadcast_validate_duration_bucket", "broadcast_enqueue_duration_bucket", "fabric_version"]
    {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }

    let output = process.terminate().await;
    let log = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}\n{log}", output.status);
    for line in log.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"));
        assert!(event["level"].is_string() && event["timestamp"].is_string(), "{line}");
    }

    let again = Process::start(&file);
    ready(config.listen.ops).await;
    let second = Process::start(&file).end().await;
    let text = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    assert!(again.terminate().await.status.success());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_ends_the_program_with_file_line_and_field() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("node.toml");
    std::fs::write(&file, "id = 1\nnonsense = true\n").unwrap();
    let output = Process::start(&file).end().await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("node.toml:2") && text.contains("nonsense"), "{text}");
}
