//! The little of URLs that fetching needs: which host, and where a redirect leads (RFC 3986, §5.2, for http and https).

/// The host of an absolute URL, with its port if it names one.
pub(super) fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let host = authority.rsplit('@').next()?;
    (!host.is_empty()).then_some(host)
}

/// The same without a port.
pub(super) fn name(url: &str) -> Option<&str> {
    let host = host(url)?;
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => Some(name),
        _ => Some(host),
    }
}

/// Where it is asked for: scheme, host and port.
pub(super) fn origin(url: &str) -> &str {
    let after_scheme = url.find("://").map_or(0, |at| at + 3);
    let end = url[after_scheme..].find(['/', '?', '#']).map_or(url.len(), |at| after_scheme + at);
    &url[..end]
}

/// Where `location` leads from `base`; `None` for other schemes and for what is no URL.
pub(super) fn join(base: &str, location: &str) -> Option<String> {
    let location = &location[..location.find('#').unwrap_or(location.len())];
    if location.bytes().any(|b| b <= b' ' || b >= 0x7f) {
        return None;
    }
    let (scheme, after_scheme) = base.split_once("://")?;
    if location.starts_with("http://") || location.starts_with("https://") {
        return host(location).map(|_| location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        return join(base, &format!("{scheme}://{rest}"));
    }
    if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    let path_start = after_scheme.find('/').unwrap_or(after_scheme.len());
    let (authority, path) = after_scheme.split_at(path_start);
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
    let folder = if folder.is_empty() { "/" } else { folder };
    Some(format!("{scheme}://{authority}{folder}{location}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        assert_eq!(host("http://mirror.example.org/debian"), Some("mirror.example.org"));
        assert_eq!(host("https://mirror.example.org:8443"), Some("mirror.example.org:8443"));
        assert_eq!(host("http://user:pw@mirror.example.org/x@y"), Some("mirror.example.org"));
        assert_eq!(host("ftp://mirror.example.org/"), None);
        assert_eq!(host("http:///x"), None);
    }

    #[test]
    fn names_and_origins() {
        for (url, of_it, origin_of_it) in [
            ("http://mirror.example.org/debian", "mirror.example.org", "http://mirror.example.org"),
            ("https://mirror.example.org:8443", "mirror.example.org", "https://mirror.example.org:8443"),
            ("http://[2001:db8::1]/x", "[2001:db8::1]", "http://[2001:db8::1]"),
            ("http://[2001:db8::1]:81/x?y", "[2001:db8::1]", "http://[2001:db8::1]:81"),
        ] {
            assert_eq!((name(url), origin(url)), (Some(of_it), origin_of_it), "{url}");
        }
    }

    #[test]
    fn redirects() {
        let base = "http://mirror.example.org/debian/pool/a.deb";
        for (location, leads_to) in [
            ("https://cdn.example.org/b.deb", Some("https://cdn.example.org/b.deb")),
            ("//cdn.example.org/b.deb", Some("http://cdn.example.org/b.deb")),
            ("/b.deb#top", Some("http://mirror.example.org/b.deb")),
            ("b.deb", Some("http://mirror.example.org/debian/pool/b.deb")),
            ("ftp://mirror.example.org/b.deb", None),
            ("file:///etc/passwd", None),
            ("javascript:alert(1)", None),
            ("http://", None),
            ("/a b", None),
            ("/a\r\nX: y", None),
        ] {
            assert_eq!(join(base, location).as_deref(), leads_to, "{location}");
        }
        assert_eq!(join("http://mirror.example.org", "x").as_deref(), Some("http://mirror.example.org/x"));
    }
}
