//! Defaults, round trips, and refusals with file, line and field.

use super::*;

const LEAST: &str = r#"
id = 1
genesis = "genesis.block"
[identity]
msp_id = "OrdererOrg"
certificate = "cert.pem"
key = "key.pem"
[cluster]
certificate = "tls.pem"
key = "tls-key.pem"
"#;

fn refusal(source: &str) -> String {
    NodeConfig::parse(source, Path::new("node.toml")).expect_err("must be refused").to_string()
}

#[test]
fn the_least_file_gets_every_default() {
    let config = NodeConfig::parse(LEAST, Path::new("node.toml")).unwrap();
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.limits.max_message_bytes, 104_857_600);
    assert_eq!(config.deliver.time_window, Duration::from_secs(900));
    assert_eq!(config.broadcast.success, Success::Accepted);
    assert_eq!(config.listen.grpc.port(), 7050);
}

#[test]
fn what_is_written_reads_back_the_same() {
    let mut config = NodeConfig::with_defaults(3, "OrdererOrg");
    config.tls = Some(TlsConfig { certificate: "a".into(), key: "b".into(), client_ca: Some("c".into()) });
    config.threads = NonZeroUsize::new(2);
    config.broadcast.success = Success::Committed;
    config.limits.shutdown_grace = Duration::from_millis(1500);
    let text = config.to_toml();
    assert_eq!(NodeConfig::parse(&text, Path::new("node.toml")).unwrap(), config, "{text}");
    // Every field and table of a written file is explained.
    let mut above = "";
    for line in text.lines() {
        let setting = line.starts_with('[') || line.contains(" = ") && !line.starts_with('#');
        assert!(!setting || above.starts_with("# "), "no comment above {line:?}");
        above = line;
    }
}

#[test]
fn relative_paths_start_from_the_files_own_directory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    std::fs::write(&file, LEAST).unwrap();
    let config = NodeConfig::load(&file).unwrap();
    assert_eq!(config.identity.key, dir.path().join("key.pem"));
    assert_eq!(config.data_dir, dir.path().join("data"));
}

#[test]
fn a_misspelt_field_is_refused_with_file_line_and_field() {
    let text = refusal(&format!("{LEAST}[limits]\nconections = 5\n"));
    assert!(text.starts_with("node.toml:12: `limits.conections`: unknown field"), "{text}");
}

#[test]
fn a_value_of_the_wrong_type_is_refused_with_file_line_and_field() {
    let text = refusal(&format!("{LEAST}[limits]\nconnections = \"many\"\n"));
    assert!(text.starts_with("node.toml:12: `limits.connections`: invalid type"), "{text}");
    let text = refusal(&format!("{LEAST}[deliver]\ntime_window = \"15 parsecs\"\n"));
    assert!(text.starts_with("node.toml:12: `deliver.time_window`: "), "{text}");
}

#[test]
fn a_missing_field_is_named() {
    let text = refusal(&LEAST.replace("id = 1\n", ""));
    assert!(text.contains("missing field `id`"), "{text}");
    let text = refusal(&LEAST.replace("msp_id = \"OrdererOrg\"\n", ""));
    assert!(text.contains("missing field `msp_id`"), "{text}");
}

#[test]
fn values_out_of_range_are_refused_with_their_line() {
    let text = refusal(&LEAST.replace("id = 1", "id = 0"));
    assert!(text.starts_with("node.toml:2: `id`: is 0"), "{text}");
    let text = refusal(&format!("{LEAST}[limits]\nstreams = 1\nstream_window_bytes = 10\n"));
    assert!(text.starts_with("node.toml:13: `limits.stream_window_bytes`: is 10"), "{text}");
    let text = refusal(&format!("{LEAST}[log]\nfilter = \"info,=,\"\n"));
    assert!(text.starts_with("node.toml:12: `log.filter`: "), "{text}");
}

#[test]
fn garbage_is_refused_and_never_panics() {
    for source in ["\u{0}", "id = ", "[", "id = 1\nid = 2", "= 3", "[limits]\nstreams = -1", "é = 'é"] {
        refusal(source);
    }
    for end in 0..LEAST.len() - 1 {
        let _ = NodeConfig::parse(&LEAST[..end], Path::new("node.toml"));
    }
}
