//! What a route asks for beside host and path. Called by `Router`. Hot path.

use super::{Request, text::Text};
use crate::{
    config::{self, PathMatch},
    http::Head,
    policy::{self, FieldName},
};
use ipnet::IpNet;
use regex::bytes::Regex;
use std::net::IpAddr;

/// The first predicate that a request does not satisfy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each variant is the predicate itself, and its name where it has one")]
pub enum Why<'r> {
    Host,
    Path,
    Listener,
    Method,
    Header(&'r str),
    Cookie(&'r str),
    Query(&'r str),
    ClientIp,
}

/// One route's predicates, but for host and most paths, which are looked up.
#[derive(Debug)]
pub(super) struct Rule {
    /// Numbers of listeners; `None` = any.
    listeners: Option<Vec<usize>>,
    /// Empty = any.
    methods: Vec<Box<[u8]>>,
    /// It answers preflights: they are for the route of the method that they ask for.
    cors: bool,
    headers: Vec<Header>,
    cookies: Vec<Named>,
    query: Vec<Named>,
    /// Empty = any.
    clients: Vec<IpNet>,
    /// Expressions for the path.
    paths: Vec<Regex>,
    predicates: usize,
}

#[derive(Debug)]
struct Header {
    /// As the operator wrote it.
    name: String,
    field: FieldName,
    text: Text,
}

/// Text that is matched, by the name of a cookie or parameter.
#[derive(Debug)]
struct Named {
    name: String,
    text: Text,
}

impl Rule {
    pub(super) fn new(route: &config::Route, listeners: &[String]) -> Self {
        let number = |name: &String| listeners.iter().position(|listener| listener == name);
        let named = |pairs: &[(String, config::Text)]| -> Vec<Named> {
            pairs.iter().map(|(name, text)| Named { name: name.clone(), text: Text::new(text) }).collect()
        };
        let header = |(name, text): &(String, config::Text)| Header {
            name: name.clone(),
            field: FieldName::new(name),
            text: Text::new(text),
        };
        let regex = |path: &PathMatch| match path {
            PathMatch::Regex(regex) => Some(Regex::new(regex).expect("the configuration has compiled it")),
            _ => None,
        };
        // The words of a list are alternatives: they do not make a route more special.
        let lists = [route.listeners.is_empty(), route.methods.is_empty(), route.client_ip.is_empty()];
        let lists = lists.iter().filter(|empty| !**empty).count();
        Self {
            listeners: (!route.listeners.is_empty()).then(|| route.listeners.iter().filter_map(number).collect()),
            methods: route.methods.iter().map(|method| method.as_bytes().into()).collect(),
            cors: route.cors.is_some(),
            headers: route.headers.iter().map(header).collect(),
            cookies: named(&route.cookies),
            query: named(&route.query),
            clients: route.client_ip.clone(),
            paths: route.paths.iter().filter_map(regex).collect(),
            predicates: lists + route.headers.len() + route.cookies.len() + route.query.len(),
        }
    }

    /// How many predicates there are, host and path aside.
    pub(super) fn predicates(&self) -> usize {
        self.predicates
    }

    /// One of the expressions is found in `path`.
    pub(super) fn path_is_found(&self, path: &[u8]) -> bool {
        self.paths.iter().any(|regex| regex.is_match(path))
    }

    /// What `request` does not satisfy, host and path aside; `None`: it matches.
    pub(super) fn misses(&self, request: &Request<'_>) -> Option<Why<'_>> {
        let head = request.head;
        if self.listeners.as_ref().is_some_and(|numbers| !numbers.contains(&request.listener)) {
            return Some(Why::Listener);
        }
        if !self.methods.is_empty() && !self.has_method(head) {
            return Some(Why::Method);
        }
        if !self.clients.is_empty() && !self.has_client(request.client) {
            return Some(Why::ClientIp);
        }
        if let Some(header) = self.headers.iter().find(|header| !header.matches(head)) {
            return Some(Why::Header(&header.name));
        }
        if let Some(cookie) = self.cookies.iter().find(|cookie| !cookie.matches_cookie(head)) {
            return Some(Why::Cookie(&cookie.name));
        }
        let query = head.text(head.target.query);
        let parameter = self.query.iter().find(|parameter| !parameter.matches_query(query))?;
        Some(Why::Query(&parameter.name))
    }

    fn has_method(&self, head: &Head) -> bool {
        let has = |method: &[u8]| self.methods.iter().any(|known| **known == *method);
        has(head.method_text()) || self.cors && policy::preflight(head).is_some_and(|(_, method)| has(method))
    }

    fn has_client(&self, client: Option<IpAddr>) -> bool {
        let Some(client) = client.map(|client| client.to_canonical()) else { return false };
        self.clients.iter().any(|net| net.contains(&client))
    }
}

impl Header {
    fn matches(&self, head: &Head) -> bool {
        self.text.wants_absence() != self.field.any(head, |value| self.text.matches(value))
    }
}

impl Named {
    fn matches_cookie(&self, head: &Head) -> bool {
        let found = policy::cookies(head, self.name.as_bytes()).any(|value| self.text.matches(value));
        self.text.wants_absence() != found
    }

    fn matches_query(&self, query: &[u8]) -> bool {
        let found = policy::parameters(query, self.name.as_bytes()).any(|value| self.text.matches_parameter(value));
        self.text.wants_absence() != found
    }
}
