//! Text with variables in braces: `redirect.to`, values of header rules, `respond.body`. Parsed once, when the
//! configuration is read; `policy` fills it in.

/// What can stand in braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the variable itself")]
pub enum Variable {
    Host,
    Path,
    PathAndQuery,
    Query,
    Scheme,
    ClientIp,
    RequestId,
    Route,
    Pool,
    Backend,
    TlsVersion,
    Sni,
}

impl Variable {
    /// By their words, in the order of PRODUCT.md.
    pub const ALL: [(&'static str, Self); 12] = [
        ("host", Self::Host),
        ("path", Self::Path),
        ("path_and_query", Self::PathAndQuery),
        ("query", Self::Query),
        ("scheme", Self::Scheme),
        ("client_ip", Self::ClientIp),
        ("request_id", Self::RequestId),
        ("route", Self::Route),
        ("pool", Self::Pool),
        ("backend", Self::Backend),
        ("tls_version", Self::TlsVersion),
        ("sni", Self::Sni),
    ];
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it stands; `{{` and `}}` have become one brace.
    Text(String),
    /// What the request says.
    Variable(Variable),
}

/// Text with variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    /// In their order.
    pub pieces: Vec<Piece>,
}

impl Template {
    /// Reads `text`.
    ///
    /// # Errors
    /// What is wrong with it, for people: an unknown variable, or a brace without its other.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                plain.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" {
                return Err("a `}` stands alone: write `}}` for the brace itself".into());
            }
            let Some((word, after)) = rest.split_once('}') else {
                return Err("a `{` is not closed: write `{{` for the brace itself".into());
            };
            let Some((_, variable)) = Variable::ALL.iter().find(|(known, _)| *known == word) else {
                let known = Variable::ALL.map(|(word, _)| format!("{{{word}}}")).join(" ");
                return Err(format!("there is no variable `{{{word}}}`: there are {known}, and `{{{{` is a brace"));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Variable(*variable));
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self { pieces })
    }

    /// `variable` stands in it.
    pub fn has(&self, variable: Variable) -> bool {
        self.pieces.contains(&Piece::Variable(variable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_variables() {
        let text = |text: &str| Piece::Text(text.into());
        let template = Template::parse("https://{host}{path_and_query}").unwrap();
        let expected = [text("https://"), Piece::Variable(Variable::Host), Piece::Variable(Variable::PathAndQuery)];
        assert_eq!(template.pieces, expected);
        assert!(template.has(Variable::Host) && !template.has(Variable::Sni));
        assert_eq!(Template::parse("a {{b}} c").unwrap().pieces, [text("a {b} c")]);
        assert_eq!(Template::parse("").unwrap().pieces, []);
        for wrong in ["{hots}", "{host", "host}", "{}", "{{host}"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
