//! Memory: how much the process holds, and how much it may have. Called by control and when a scrape gathers; not hot.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where the kernel shows control groups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// Resident memory of this process in bytes, as `ps` shows it; `None` where /proc does not tell.
pub(super) fn resident() -> Option<u64> {
    in_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Bytes that this process may have: the least of its control groups' limits and the machine's memory.
pub(super) fn limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| in_kib(&text, "MemTotal:"));
    let groups = fs::read_to_string("/proc/self/cgroup").ok();
    let groups = groups.and_then(|text| of_groups(Path::new(CGROUPS), &text));
    machine.into_iter().chain(groups).min()
}

/// The least limit of the groups that `text` (/proc/self/cgroup) names, and of those above them. Version 2 has one
/// hierarchy, version 1 one for memory. In a container the path may be the host's, which is not to be seen here: then the
/// uppermost folder is the container's.
fn of_groups(root: &Path, text: &str) -> Option<u64> {
    let limits = |line: &str| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (top, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        upwards(&top, path).filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
    };
    // Without a limit, version 2 says "max", and version 1 the largest number of pages that there is.
    text.lines().filter_map(limits).min().filter(|limit| *limit < i64::MAX as u64 / 2)
}

/// The folder of `path` below `top`, and those above it, up to `top`.
fn upwards(top: &Path, path: &str) -> impl Iterator<Item = PathBuf> {
    let folder = top.join(path.trim_start_matches('/'));
    let top = top.to_owned();
    let folders: Vec<_> =
        folder.ancestors().take_while(|folder| folder.starts_with(&top)).map(Path::to_owned).collect();
    folders.into_iter()
}

/// The number behind `name`, which is in KiB there, in bytes.
fn in_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{env, process};

    /// A tree of control groups, for one test.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = env::temp_dir().join(format!("evenkeel-{}-{name}", process::id()));
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_least_limit_on_the_way_up_holds() {
        let tree = Tree::new(
            "v2",
            &[("memory.max", "max\n"), ("a/memory.max", "1000000\n"), ("a/b/memory.max", "2000000\n"), ("a/b/c/x", "")],
        );
        assert_eq!(of_groups(&tree.0, "0::/a/b\n"), Some(1_000_000));
        assert_eq!(of_groups(&tree.0, "0::/a/b/c\n"), Some(1_000_000), "a folder without the file");
        assert_eq!(of_groups(&tree.0, "0::/\n"), None, "no limit");
        assert_eq!(of_groups(&tree.0, "0::/gone/away\n"), None);
        assert_eq!(of_groups(&tree.0, "nonsense\n"), None);
    }

    #[test]
    fn version_1_has_a_hierarchy_of_its_own_for_memory() {
        let tree = Tree::new(
            "v1",
            &[
                ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
                ("memory/a/memory.limit_in_bytes", "5000\n"),
                ("cpu/a/memory.limit_in_bytes", "1\n"),
            ],
        );
        assert_eq!(of_groups(&tree.0, "4:memory:/a\n3:cpu:/a\n0::/\n"), Some(5000));
        assert_eq!(of_groups(&tree.0, "4:hugetlb,memory:/a\n"), Some(5000));
        assert_eq!(of_groups(&tree.0, "4:memory:/\n"), None, "no limit");
    }

    #[test]
    fn in_a_container_the_uppermost_folder_is_its_own() {
        let tree = Tree::new("container", &[("memory/memory.limit_in_bytes", "7000\n")]);
        assert_eq!(of_groups(&tree.0, "4:memory:/docker/0123\n"), Some(7000));
    }

    #[test]
    fn this_process_holds_memory_and_may_have_more() {
        let (held, limit) = (resident().unwrap(), limit().unwrap());
        assert!((1 << 20..limit).contains(&held), "{held} of {limit}");
        assert_eq!(in_kib("VmHWM:\t 9 kB\nVmRSS:\t  12 kB\n", "VmRSS:"), Some(12 * 1024));
        assert_eq!(in_kib("VmRSS:\t  12\n", "VmRSS:"), None);
    }
}
