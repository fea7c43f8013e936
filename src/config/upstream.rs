//! Where an archive is fetched from, when that is not where clients think it is.

use std::str::FromStr;

use super::host;

/// Requests below `prefix` are fetched below one of `urls`, tried in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamRule {
    /// `host/path` as objects are named, without a slash at its end.
    pub prefix: String,
    /// URLs without a slash at their end.
    pub urls: Vec<String>,
}

/// A text that is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotARule;

impl FromStr for UpstreamRule {
    type Err = NotARule;

    fn from_str(text: &str) -> Result<UpstreamRule, NotARule> {
        let (prefix, url) = text.split_once('=').ok_or(NotARule)?;
        let prefix = host::prefix(prefix).ok_or(NotARule)?;
        let url = url.trim_end_matches('/');
        let has_host = ["http://", "https://"].iter().any(|scheme| {
            url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['/', '?', '#']))
        });
        if !has_host || !url.bytes().all(|b| b.is_ascii_graphic()) || url.contains(['?', '#']) {
            return Err(NotARule);
        }
        Ok(UpstreamRule { prefix, urls: vec![url.to_owned()] })
    }
}

impl UpstreamRule {
    /// What of `whole` (host/path) lies behind the prefix: empty, or with a slash in front.
    pub(super) fn rest_of<'a>(&self, whole: &'a str) -> Option<&'a str> {
        let rest = whole.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(rest)
    }

    /// Whether a mirror is asked with a name and a password.
    pub(super) fn has_password(&self) -> bool {
        self.urls.iter().any(|url| url.split('/').nth(2).is_some_and(|authority| authority.contains('@')))
    }

    /// Rules for the same prefix become one with several URLs.
    pub(super) fn joined(rules: Vec<UpstreamRule>) -> Vec<UpstreamRule> {
        let mut joined: Vec<UpstreamRule> = Vec::new();
        for rule in rules {
            match joined.iter_mut().find(|known| known.prefix == rule.prefix) {
                Some(known) => known.urls.extend(rule.urls),
                None => joined.push(rule),
            }
        }
        joined
    }
}
