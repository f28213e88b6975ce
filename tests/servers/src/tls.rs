//! Certificates: an authority, a server that it vouches for, a client, and an authority that nobody trusts.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::place;

/// What makes them, in the current folder. The server's is for localhost and 127.0.0.1; the client's name is `sluice`.
const SCRIPT: &str = r#"
set -e
for ca in ca other-ca; do
  openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj "/CN=sluice-tests-$ca" -keyout $ca.key -out $ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
done
printf 'basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n' > extensions
for name in server client; do
  cn=localhost; [ $name = client ] && cn=sluice
  openssl req -newkey rsa:2048 -nodes -subj /CN=$cn -keyout $name.key -out $name.csr
  openssl x509 -req -days 3650 -in $name.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out $name.crt
  cat $name.crt $name.key > $name.pem
done
chmod 644 *.crt; chmod 600 *.key *.pem
"#;

/// The files.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The authority that vouches for server and client.
    pub ca: PathBuf,
    /// An authority that vouches for neither.
    pub other_ca: PathBuf,
    /// The server's certificate, for localhost and 127.0.0.1.
    pub server_cert: PathBuf,
    /// The server's key.
    pub server_key: PathBuf,
    /// Both in one file.
    pub server_pem: PathBuf,
    /// The client's certificate, whose common name is `sluice`.
    pub client_cert: PathBuf,
    /// The client's key (PKCS #8).
    pub client_key: PathBuf,
    /// Both in one file.
    pub client_pem: PathBuf,
}

/// The certificates of this user's tests, made by `openssl` the first time.
pub fn tls() -> Tls {
    let dir = place::shared().join("tls");
    if !dir.exists() {
        let made = place::folder("tls");
        let output =
            Command::new("sh").args(["-c", SCRIPT]).current_dir(made.path()).output().expect("a shell");
        assert!(output.status.success(), "openssl (is it there? {}): {output:?}", crate::SETUP);
        // Another test may have been quicker, which is as good.
        if fs::rename(made.path(), &dir).is_ok() {
            let _ = made.keep();
        }
    }
    let file = |name: &str| dir.join(name);
    Tls {
        ca: file("ca.crt"),
        other_ca: file("other-ca.crt"),
        server_cert: file("server.crt"),
        server_key: file("server.key"),
        server_pem: file("server.pem"),
        client_cert: file("client.crt"),
        client_key: file("client.key"),
        client_pem: file("client.pem"),
    }
}
