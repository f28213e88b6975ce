//! Runs the `cases/` of every plugin and template through the real host. `plugins/README.md` describes the files.

mod case;
mod run;
mod value;

use std::path::Path;

use case::Case;

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds() {
    let cache = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    let mut count = 0;
    for guest in sluice_guests::names() {
        let Some(folder) = sluice_guests::folder(guest) else { continue };
        for path in case_files(folder) {
            count += 1;
            let place = format!("{guest}/{}", path.file_name().unwrap_or_default().to_string_lossy());
            let outcome = match Case::load(&path) {
                Ok(case) => run::run(guest, &case, cache.path()).await,
                Err(why) => Err(why),
            };
            if let Err(why) = outcome {
                failures.push(format!("{place}: {why}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} of {count} cases fail:\n\n{}\n", failures.len(), failures.join("\n\n"));
    assert!(count > 0, "no cases were found");
}

#[test]
fn every_shipped_plugin_and_template_has_cases_and_a_readme() {
    let shipped = sluice_guests::shipped().iter().map(|(name, _)| *name);
    for guest in shipped.chain(sluice_guests::names().filter(|name| name.ends_with("-template"))) {
        let folder = sluice_guests::folder(guest).unwrap();
        assert!(!case_files(folder).is_empty(), "{guest} has no cases");
        assert!(folder.join("README.md").exists(), "{guest} has no README.md");
    }
}

fn case_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder.join("cases")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}
