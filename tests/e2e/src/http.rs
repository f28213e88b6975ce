//! Asking the service over HTTP.

use serde_json::Value as Json;

/// What the service answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {self:?}"))
    }
}

/// One request. `Err` when nobody listens.
pub fn request(method: &str, address: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answer, String> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(std::time::Duration::from_secs(30)))
        .build();
    let mut request = ureq::http::Request::builder().method(method).uri(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(String::new()).map_err(|error| error.to_string())?;
    let mut response = ureq::Agent::from(config).run(request).map_err(|error| error.to_string())?;
    let text = response.body_mut().read_to_string().map_err(|error| error.to_string())?;
    Ok(Answer { status: response.status().as_u16(), text })
}

/// The sum of a metric's samples whose labels contain all of `labels` (as `name="value"`), if there is any.
pub fn metric(exposition: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values: Vec<f64> = exposition
        .lines()
        .filter_map(|line| line.strip_prefix(name))
        .filter(|rest| rest.starts_with(['{', ' ']))
        .filter(|rest| labels.iter().all(|label| rest.contains(label)))
        .map(|rest| rest.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number"))
        .collect();
    (!values.is_empty()).then(|| values.iter().sum())
}
