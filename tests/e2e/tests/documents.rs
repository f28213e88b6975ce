//! Rows that become documents: the example of the README, as it stands there.

use sluice_e2e::binary;
use sluice_e2e::database::Database;
use sluice_e2e::site::Site;
use sluice_servers::bson::{Bson, Document, doc};

/// The configuration that the README shows, on these servers.
fn example(source: &Database, target: &Database) -> String {
    let (
        Database::Postgres { server: postgres, name: shop },
        Database::Mongo { server: mongo, name: reports },
    ) = (source, target)
    else {
        panic!("PostgreSQL to MongoDB")
    };
    let readme = std::fs::read_to_string(binary::root().join("README.md")).expect("the README");
    let (_, rest) = readme.split_once("```yaml\n# sluice.yaml\n").expect("the example");
    let (mut example, _) =
        rest.split_once("```").map(|(example, rest)| (example.to_string(), rest)).expect("its end");
    for (there, here) in [
        ("${env:PII_KEY}", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".into()),
        ("${env:SHOP_URL}", postgres.url(shop)),
        ("mongodb://localhost:27017/?replicaSet=rs0", mongo.url()),
        ("database: reports", format!("database: {reports}")),
    ] {
        assert!(example.contains(there), "the README says {there} no more");
        example = example.replace(there, &here);
    }
    example
}

#[test]
fn the_readme_s_example_gives_documents_their_id_by_mapping() {
    let (source, target) = (Database::alone_on_postgres("shop"), Database::mongo("reports"));
    source.sql(
        "CREATE TABLE customers (user_id bigint PRIMARY KEY, first_name text, age text, created text, country text,
            internal_note text, ssn text DEFAULT '123-45-6789');
         INSERT INTO customers VALUES (1, 'Ann', '41', '2024-05-06 07:08:09', 'NL', 'secret'),
            (2, 'Bob', NULL, NULL, 'XX', 'hidden'), (3, 'Eve', '7', '1970-01-01 00:00:00', 'DE', NULL)",
    );
    let site = Site::new();
    site.write("sluice.yaml", example(&source, &target));
    let documents = || -> Vec<Document> {
        let Database::Mongo { server, name } = &target else { unreachable!() };
        let mut documents = server.find(name, "customers");
        for document in &mut documents {
            // What is sealed is different every time.
            let sealed = document.remove("ssn");
            let sealed = sealed.as_ref().and_then(Bson::as_str).expect("a sealed value");
            assert!(sealed.len() > 40 && !sealed.contains("6789"), "{sealed}");
        }
        documents
    };
    let person = |id: i64, name: &str, age: i64, created: &str, country: &str| {
        let created =
            Bson::DateTime(sluice_servers::bson::DateTime::parse_rfc3339_str(created).expect("a date"));
        doc! { "_id": id, "firstName": name, "age": age, "created": created, "country": country }
    };
    let sorted = |mut documents: Vec<Document>| {
        for document in &mut documents {
            let mut fields: Vec<_> = std::mem::take(document).into_iter().collect();
            fields.sort_by(|one, other| one.0.cmp(&other.0));
            document.extend(fields);
        }
        documents
    };
    site.sluice(&["check"]).ended_with(0);
    site.sluice(&["sync"]).ended_with(0);
    let copied = [
        person(1, "Ann", 41, "2024-05-06T07:08:09Z", "NL"),
        person(3, "Eve", 7, "1970-01-01T00:00:00Z", "DE"),
    ];
    assert_eq!(sorted(documents()), sorted(copied.to_vec()));

    // A change, a change of the key, one that the filter lets in and one that it puts out, a row that goes and one that comes.
    source.sql(
        "UPDATE customers SET first_name = 'Anna' WHERE user_id = 1; UPDATE customers SET user_id = 30 WHERE user_id = 3;
         UPDATE customers SET country = 'FR', age = '2', created = '2000-01-01 00:00:00' WHERE user_id = 2;
         INSERT INTO customers VALUES (4, 'Dan', '1', '2001-01-01 00:00:00', 'BE', ''), (5, 'Tom', '1', NULL, 'BE', '');
         UPDATE customers SET country = 'XX' WHERE user_id = 4; DELETE FROM customers WHERE user_id = 5",
    );
    site.sluice(&["sync"]).ended_with(0);
    let streamed = [
        person(1, "Anna", 41, "2024-05-06T07:08:09Z", "NL"),
        person(2, "Bob", 2, "2000-01-01T00:00:00Z", "FR"),
        person(30, "Eve", 7, "1970-01-01T00:00:00Z", "DE"),
    ];
    assert_eq!(sorted(documents()), sorted(streamed.to_vec()));
}
