//! What a path of the admin API names, and what may be done with it. Pure; called by `answer`.

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// The dashboard.
    Page,
    Metrics,
    Healthz,
    Readyz,
    Status,
    Events,
    Pools,
    /// By its name.
    Pool(String),
    /// Those of the pool of that name.
    Backends(String),
    /// By the names of its pool and itself.
    Backend(String, String),
    Reload,
    Rollback,
    Diff,
    Chaos,
    Explain,
    OpenApi,
}

/// Paths without names in them.
const FIXED: &[(&str, Resource)] = &[
    ("/", Resource::Page),
    ("/metrics", Resource::Metrics),
    ("/healthz", Resource::Healthz),
    ("/readyz", Resource::Readyz),
    ("/api/v1/status", Resource::Status),
    ("/api/v1/events", Resource::Events),
    ("/api/v1/pools", Resource::Pools),
    ("/api/v1/reload", Resource::Reload),
    ("/api/v1/rollback", Resource::Rollback),
    ("/api/v1/diff", Resource::Diff),
    ("/api/v1/chaos", Resource::Chaos),
    ("/api/v1/explain", Resource::Explain),
    ("/api/v1/openapi.json", Resource::OpenApi),
];

/// Every path that names something, with words in braces for names: what the OpenAPI document is held against.
#[cfg(test)]
pub(super) fn all() -> impl Iterator<Item = &'static str> {
    let named = ["/api/v1/pools/{pool}", "/api/v1/pools/{pool}/backends", "/api/v1/pools/{pool}/backends/{backend}"];
    FIXED.iter().map(|(path, _)| *path).chain(named)
}

/// Why a path names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfound {
    /// There is nothing there.
    Unknown,
    /// It is no percent-encoded UTF-8.
    Malformed,
}

impl Resource {
    /// What `path` names. A backend is the rest of its path, decoded: `unix:/run/x` needs no `%2F`.
    pub(super) fn find(path: &str) -> Result<Self, Unfound> {
        if let Some((_, resource)) = FIXED.iter().find(|(fixed, _)| *fixed == path) {
            return Ok(resource.clone());
        }
        let rest = path.strip_prefix("/api/v1/pools/").ok_or(Unfound::Unknown)?;
        let (pool, below) = rest.split_once('/').map_or((rest, None), |(pool, below)| (pool, Some(below)));
        if pool.is_empty() {
            return Err(Unfound::Unknown);
        }
        let Some(below) = below else { return decode(pool).map(Self::Pool) };
        if below == "backends" {
            return decode(pool).map(Self::Backends);
        }
        match below.strip_prefix("backends/") {
            Some(backend) if !backend.is_empty() => Ok(Self::Backend(decode(pool)?, decode(backend)?)),
            _ => Err(Unfound::Unknown),
        }
    }

    /// Served on `metrics_address` as well: it tells how the process is and changes nothing.
    pub(super) fn is_for_scrapers(&self) -> bool {
        matches!(self, Self::Metrics | Self::Healthz | Self::Readyz)
    }

    /// The methods that it has, for `Allow`.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Backend(..) => "DELETE, PATCH",
            Self::Backends(_) => "POST",
            Self::Pool(_) => "GET, HEAD, PATCH",
            Self::Reload | Self::Rollback | Self::Diff | Self::Explain => "POST",
            Self::Chaos => "PUT",
            _ => "GET, HEAD",
        }
    }
}

/// RFC 3986 section 2.1, strictly.
fn decode(text: &str) -> Result<String, Unfound> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => digit(bytes.next())? << 4 | digit(bytes.next())?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| Unfound::Malformed)
}

fn digit(byte: Option<u8>) -> Result<u8, Unfound> {
    let digit = byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or(Unfound::Malformed)?;
    u8::try_from(digit).map_err(|_| Unfound::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pool: &str, backend: &str) -> Result<Resource, Unfound> {
        Ok(Resource::Backend(pool.into(), backend.into()))
    }

    #[test]
    fn names_are_decoded() {
        let find = Resource::find;
        assert_eq!(find("/api/v1/pools/web"), Ok(Resource::Pool("web".into())));
        assert_eq!(find("/api/v1/pools/w%65b%20%c3%A9"), Ok(Resource::Pool("web é".into())));
        assert_eq!(find("/api/v1/pools/web/backends/10.0.0.1:80"), backend("web", "10.0.0.1:80"));
        for path in ["unix:/run/x", "unix%3A%2Frun%2Fx", "unix:%2frun/x"] {
            assert_eq!(find(&format!("/api/v1/pools/web/backends/{path}")), backend("web", "unix:/run/x"));
        }
        assert_eq!(find("/api/v1/pools/a%2Fb/backends/c"), backend("a/b", "c"));
        assert_eq!(find("/api/v1/pools/a%2Fb/backends"), Ok(Resource::Backends("a/b".into())));
        assert_eq!(find("/api/v1/pools/web/backends/%5B::1%5D:80"), backend("web", "[::1]:80"));
    }

    #[test]
    fn other_paths_name_nothing() {
        for path in [
            "",
            "//",
            "*",
            "/metrics/",
            "/api",
            "/api/v1",
            "/api/v1/pools/",
            "/api/v1/pools//backends/a",
            "/api/v1/pools/web/",
            "/api/v1/pools/web/backends/",
            "/api/v1/pools/web/x/a",
            "/api/v1/status/",
            "/api/v2/status",
            "/API/v1/status",
        ] {
            assert_eq!(Resource::find(path), Err(Unfound::Unknown), "{path}");
        }
        for name in ["%", "%4", "%zz", "%+1", "a%", "%ff", "%c3"] {
            assert_eq!(Resource::find(&format!("/api/v1/pools/{name}")), Err(Unfound::Malformed), "{name}");
            assert_eq!(
                Resource::find(&format!("/api/v1/pools/web/backends/{name}")),
                Err(Unfound::Malformed),
                "{name}"
            );
        }
    }
}
