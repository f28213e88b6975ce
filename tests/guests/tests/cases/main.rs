//! Runs the `cases/` of every plugin and template through the real host. `plugins/README.md` describes the files.

#[tokio::test(flavor = "multi_thread")]
async fn every_case_holds() {
    let (mut failures, mut count) = (Vec::new(), 0);
    for guest in sluice_guests::names() {
        let Some(folder) = sluice_guests::folder(guest) else { continue };
        let Ok(files) = sluice::cases::files(&folder.join("cases")) else { continue };
        let outcomes = sluice::cases::run(guest, sluice_guests::guest(guest), &files).await.unwrap();
        count += outcomes.len();
        for outcome in outcomes {
            let place = format!("{guest}/{}", outcome.case);
            failures.extend(outcome.failure.map(|why| format!("{place}: {why}")));
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
        assert!(sluice::cases::files(&folder.join("cases")).is_ok(), "{guest} has no cases");
        assert!(folder.join("README.md").exists(), "{guest} has no README.md");
    }
}
