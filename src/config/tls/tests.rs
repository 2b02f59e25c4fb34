//! PEM files, made by rcgen, and what is wrong with some of them.
