//! Writes the corpora of the fuzz targets anew, into `sim/fuzz/corpus`:
//! `cargo run -p sbft-sim --example fuzz_corpus`. Findings of a fuzzer that were added by hand stay.

use std::path::Path;

use sbft::header::sha256;
use sbft_sim::fuzzing::corpus;

fn main() -> std::io::Result<()> {
    let sim = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut bytes) = (0, 0);
    for (target, corpus) in corpus::make(&sim.join("../tests/fabric-vectors"))? {
        let folder = sim.join("fuzz/corpus").join(target);
        std::fs::create_dir_all(&folder)?;
        for file in corpus {
            files += 1;
            bytes += file.len();
            std::fs::write(folder.join(format!("{}.bin", sha256(&file))), file)?;
        }
    }
    println!("{files} files, {bytes} bytes");
    Ok(())
}
