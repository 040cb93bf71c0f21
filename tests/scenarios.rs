//! Stories of the protocol, told in `tests/scenarios/*.txt` with what the replicas say as the
//! expectation. `UPDATE=1 cargo test --test scenarios` rewrites the expectations; read the
//! difference before you commit it.

use std::path::Path;

#[test]
fn every_scenario_reads_as_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(&directory)
        .expect("the scenarios are in the repository")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "found only {} scenarios", files.len());
    let mut differing = Vec::new();
    for path in files {
        let script = std::fs::read_to_string(&path).expect("a readable scenario");
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let said = match sbft_sim::script::run(&script) {
            Ok(said) => said,
            Err(error) => {
                differing.push(format!("{name}: {error}"));
                continue;
            }
        };
        if std::env::var_os("UPDATE").is_some() {
            if said != script {
                std::fs::write(&path, &said).expect("a writable scenario");
            }
        } else if said != script {
            let line = said.lines().zip(script.lines()).position(|(is, expected)| is != expected);
            let line = line.unwrap_or_else(|| said.lines().count().min(script.lines().count()));
            differing.push(format!(
                "{name}, line {}:\n  expected {}\n  said     {}",
                line + 1,
                script.lines().nth(line).unwrap_or("(the end)"),
                said.lines().nth(line).unwrap_or("(the end)"),
            ));
        }
        assert!(!said.contains("FAILED"), "{name} breaks a rule:\n{said}");
    }
    assert!(differing.is_empty(), "{}\nUPDATE=1 rewrites the expectations", differing.join("\n"));
}
