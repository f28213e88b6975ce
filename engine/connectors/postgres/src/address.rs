//! Where the server is and who we are to it: a URL, or its parts.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sluice_types::{Secret, Settings};

/// PostgreSQL's own port.
pub(crate) const PORT: u16 = 5432;

/// One place where the server may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name or an address.
    Tcp(String),
    /// The folder of a unix socket.
    Unix(PathBuf),
}

/// The places where the server may be, tried in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address(pub Vec<(Host, u16)>);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (host, port)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(name) if name.contains(':') => write!(f, "{comma}[{name}]:{port}")?,
                Host::Tcp(name) => write!(f, "{comma}{name}:{port}")?,
                Host::Unix(folder) => write!(f, "{comma}{}:{port}", folder.display())?,
            }
        }
        Ok(())
    }
}

/// What `url`, `host` and their siblings say.
pub(crate) struct Target {
    pub address: Address,
    pub user: String,
    pub password: Option<Secret>,
    pub dbname: String,
    pub application_name: Option<String>,
    pub connect_timeout: Option<Duration>,
    /// `sslmode` and its siblings of the URL: what `tls` does not say.
    pub tls: Vec<(String, String)>,
}

/// Reads them.
pub(crate) fn take(settings: &mut Settings) -> Option<Target> {
    let url = settings.has("url");
    let text = settings.take_text("url");
    let host = settings.take_text("host");
    let port = take_port(settings);
    let user = settings.take_text("user");
    let password = settings.take_text("password").map(Secret::new);
    let dbname = settings.take_text("database");
    let mut target = if url {
        for (key, there) in [("host", host.is_some()), ("port", port != Some(None))] {
            if there {
                settings.reject(key, format!("`{key}` beside `url`"), "leave one of them out");
            }
        }
        parse_url(settings, &text?)?
    } else {
        if host.is_none() {
            settings.reject(
                "host",
                "neither `url` nor `host` is there",
                "url: postgres://user:password@host/database",
            );
        }
        Parsed { tls: vec![], ..Parsed::default() }
    };
    target.user = user.or(target.user);
    target.dbname = dbname.or(target.dbname);
    for (key, there, example) in [
        ("user", target.user.is_some(), "the role to connect as"),
        ("database", target.dbname.is_some(), "the database on the server"),
    ] {
        if !there {
            settings.reject(key, format!("`{key}` is missing"), example);
        }
    }
    if !url {
        target.hosts.push((host_of(&host?), port?.unwrap_or(PORT)));
    }
    Some(Target {
        address: Address(target.hosts),
        user: target.user?,
        password: password.or(target.password),
        dbname: target.dbname?,
        application_name: target.application_name,
        connect_timeout: target.connect_timeout,
        tls: target.tls,
    })
}

/// `None`: a wrong one; `Some(None)`: none.
fn take_port(settings: &mut Settings) -> Option<Option<u16>> {
    if !settings.has("port") {
        settings.take("port");
        return Some(None);
    }
    let number = settings.take_number("port", 1)?;
    match u16::try_from(number) {
        Ok(port) => Some(Some(port)),
        Err(_) => {
            settings.reject("port", "`port` is too large", "65535 or less");
            None
        }
    }
}

#[derive(Default)]
struct Parsed {
    hosts: Vec<(Host, u16)>,
    user: Option<String>,
    password: Option<Secret>,
    dbname: Option<String>,
    application_name: Option<String>,
    connect_timeout: Option<Duration>,
    tls: Vec<(String, String)>,
}

/// Reads a URL; nothing of it is ever shown, for it may hold a password.
fn parse_url(settings: &mut Settings, url: &str) -> Option<Parsed> {
    const EXAMPLE: &str = "postgres://user:password@host:5432/database?sslmode=verify-full";
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        settings.reject("url", "not a URL of PostgreSQL", EXAMPLE);
        return None;
    }
    // The driver knows only some words of `sslmode`, and none of the files.
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (tls, rest): (Vec<&str>, Vec<&str>) =
        query.split('&').filter(|part| !part.is_empty()).partition(|part| part.starts_with("ssl"));
    let plain = if rest.is_empty() { base.to_string() } else { format!("{base}?{}", rest.join("&")) };
    let Ok(config) = tokio_postgres::Config::from_str(&plain) else {
        settings.reject(
            "url",
            "the URL can't be read",
            format!("{EXAMPLE}; special characters as %40 and the like"),
        );
        return None;
    };
    if config.get_options().is_some() {
        settings.reject("url", "`options` in the URL", "write them below `settings`");
        return None;
    }
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(index, host)| {
        let host = match host {
            tokio_postgres::config::Host::Tcp(name) => host_of(name),
            tokio_postgres::config::Host::Unix(folder) => Host::Unix(folder.clone()),
        };
        (host, *ports.get(index).or(ports.first()).unwrap_or(&PORT))
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        settings.reject("url", "the URL names no host", EXAMPLE);
        return None;
    }
    let unescape = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (key.to_string(), percent_decoded(value))
    };
    Some(Parsed {
        hosts,
        user: config.get_user().map(str::to_string),
        password: config.get_password().map(|bytes| Secret::new(String::from_utf8_lossy(bytes))),
        dbname: config.get_dbname().map(str::to_string),
        application_name: config.get_application_name().map(str::to_string),
        connect_timeout: config.get_connect_timeout().copied(),
        tls: tls.into_iter().map(unescape).collect(),
    })
}

fn host_of(text: &str) -> Host {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.starts_with('/') { Host::Unix(bare.into()) } else { Host::Tcp(bare.into()) }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| byte == b'%') {
            Some(decoded) => {
                bytes.push(decoded);
                rest = &after[2..];
            }
            None => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(url: &str) -> (Option<Target>, usize) {
        let mut settings = Settings::new("", json!({ "url": url }));
        let target = take(&mut settings);
        (target, settings.finish().len())
    }

    #[test]
    fn urls_as_users_paste_them() {
        for (url, address, user) in [
            ("postgres://ann@db/shop", "db:5432", "ann"),
            ("postgresql://ann:p%40ss@[::1]:6000/shop?sslmode=require", "[::1]:6000", "ann"),
            ("postgres://ann@a:1,b:2/shop?connect_timeout=3", "a:1,b:2", "ann"),
            ("postgres://ann@%2Fvar%2Frun/shop", "/var/run:5432", "ann"),
            ("postgres:///shop?host=/tmp&user=ann", "/tmp:5432", "ann"),
        ] {
            let (target, findings) = read(url);
            assert_eq!(findings, 0, "{url}");
            let target = target.unwrap();
            assert_eq!((target.address.to_string().as_str(), target.user.as_str()), (address, user));
        }
    }

    #[test]
    fn what_is_no_url_is_told_without_it() {
        for url in ["mysql://a@b/c", "postgres://a:b@c:port/d", "postgres://h/d", "postgres://a@/d"] {
            let (target, findings) = read(url);
            assert!(target.is_none() && findings > 0, "{url}");
        }
    }
}
