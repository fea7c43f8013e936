//! Which package a file is a version of, as its name tells.

/// The path of a binary package with a star for its version: what stays when the next version comes. `None` for other files.
#[must_use]
pub fn versionless(path: &str) -> Option<String> {
    let (folder, name) = path.rsplit_once('/')?;
    let mut parts = name.split('_');
    let (package, version, rest) = (parts.next()?, parts.next()?, parts.next()?);
    let is_package = parts.next().is_none() && !version.is_empty();
    let is_binary = [".deb", ".udeb"].iter().any(|ending| rest.ends_with(ending));
    (is_package && is_binary).then(|| format!("{folder}/{package}_*_{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_version_is_left_out() {
        for (path, expected) in [
            ("pool/main/h/hello/hello_2.10-3_amd64.deb", Some("pool/main/h/hello/hello_*_amd64.deb")),
            ("pool/main/h/hello/hello_2.10-4+b1_amd64.deb", Some("pool/main/h/hello/hello_*_amd64.deb")),
            ("pool/main/h/hello/hello_2.10-3_arm64.deb", Some("pool/main/h/hello/hello_*_arm64.deb")),
            ("pool/x/x-udeb_1_all.udeb", Some("pool/x/x-udeb_*_all.udeb")),
            ("pool/main/h/hello/hello_2.10-3.dsc", None),
            ("pool/main/h/hello/hello_2.10.orig.tar.gz", None),
            ("dists/stable/main/Contents-amd64.gz", None),
            ("a_1_all.deb", None),
        ] {
            assert_eq!(versionless(path).as_deref(), expected, "{path}");
        }
    }
}
