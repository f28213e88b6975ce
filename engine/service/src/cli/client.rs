//! Talking to the service that runs.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use sluice::{Config, Error, ErrorKind, service_address};
use sluice_store::Store;
use sluice_types::Secret;
use ureq::Agent;

use super::failure::Failure;

/// How long to try to reach it.
const CONNECT: Duration = Duration::from_secs(3);
/// How long an answer may take: pausing waits for a batch, a swap for a compiler.
const ANSWER: Duration = Duration::from_secs(120);

/// The service of one configuration.
pub struct Client {
    agent: Agent,
    address: SocketAddr,
    token: Option<Secret>,
}

impl Client {
    /// The service that runs on this configuration's state folder, if one does. It says in that folder where it listens.
    pub fn find(config: &Config) -> Result<Option<Client>, Failure> {
        // The token goes to nobody else: a port that a killed service left may be anybody's by now.
        let Some(address) = service_address(&config.state.dir)? else { return Ok(None) };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(ANSWER))
            .proxy(None)
            .build()
            .into();
        let token = match &config.service.token {
            Some(token) => Some(token.clone()),
            None => Store::read_token(&config.state.dir)?,
        };
        let client = Client { agent, address, token };
        // It may just be going down.
        Ok(client.answers().then_some(client))
    }

    fn answers(&self) -> bool {
        self.agent.get(self.url("/health")).call().is_ok()
    }

    /// Asks for something.
    pub fn get(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.authorized(self.agent.get(self.url(path))).call())
    }

    /// Asks to do something.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.read(self.authorized(self.agent.post(self.url(path))).send_json(body))
    }

    /// Asks to remove something.
    pub fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.read(self.authorized(self.agent.delete(self.url(path))).call())
    }

    fn authorized<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("Authorization", format!("Bearer {}", token.expose())),
            None => request,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn read(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, Failure> {
        let mut answer = answer.map_err(|error| self.no_answer(error))?;
        let good = answer.status().is_success();
        let body: Value = answer.body_mut().read_json().map_err(|error| self.no_answer(error))?;
        if good {
            return Ok(body);
        }
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_string();
        Err(Failure::Service { code: text("code"), message: text("message") })
    }

    fn no_answer(&self, error: ureq::Error) -> Failure {
        let what = format!("the service at {} did not answer as expected", self.address);
        Error::new(ErrorKind::Unreachable, what)
            .because(error)
            .remedy("look at its log; `sluice serve` starts one")
            .into()
    }
}

/// A part of a path, escaped.
pub fn part(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_means_something_in_a_path_is_escaped() {
        assert_eq!(super::part("snapshot/a b/1?"), "snapshot%2Fa%20b%2F1%3F");
    }
}
