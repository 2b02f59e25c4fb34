//! Values as operators write them elsewhere than in the file: in requests to the admin API. The same words as in the file.
//!
//! Used by `admin`. Errors are sentences for people.

use std::time::Duration;

use super::{report::Wrong, units};

/// A time: `"250ms"`, `"5m"`.
///
/// # Errors
/// It is none.
pub fn duration(text: &str) -> Result<Duration, String> {
    units::duration(text).map_err(told)
}

/// A share of the whole, 0 to 1: `"20%"`.
///
/// # Errors
/// It is none.
pub fn share(text: &str) -> Result<f64, String> {
    units::share(text).map_err(told)
}

/// Bytes per second: `"1KiB/s"`.
///
/// # Errors
/// It is none.
pub fn byte_rate(text: &str) -> Result<u64, String> {
    units::byte_rate(text).map_err(told)
}

fn told(wrong: Wrong) -> String {
    match wrong.help {
        Some(help) => format!("{}: {help}", wrong.message),
        None => wrong.message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_read_as_in_the_file() {
        assert_eq!(duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!((share("10%"), byte_rate("1KiB/s")), (Ok(0.1), Ok(1024)));
        assert!(duration("5").unwrap_err().contains("write \"5s\""), "{:?}", duration("5"));
        assert!(share("10").unwrap_err().contains("10%") && byte_rate("x").is_err());
    }
}
