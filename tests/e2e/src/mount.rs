//! Small disks.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system of a given size, in memory. Gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one at this folder, which is made. `None` where this process may not mount (it is not root).
    pub fn mount(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).expect("the folder can be made");
        let options = format!("size={size},mode=0700");
        let done = run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "sluice-e2e"]).arg(at));
        done.then(|| SmallDisk { at: at.to_path_buf() })
    }

    /// Mounts one over a folder, with what was in there.
    pub fn under(folder: &Path, size: &str) -> Option<Self> {
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside).expect("the folder can be moved");
        match Self::mount(folder, size) {
            Some(disk) => {
                assert!(run(Command::new("cp").arg("-a").arg(aside.join(".")).arg(folder)), "there is room");
                std::fs::remove_dir_all(&aside).expect("it was copied");
                Some(disk)
            }
            None => {
                std::fs::remove_dir(folder).expect("an empty folder");
                std::fs::rename(&aside, folder).expect("the folder can be moved back");
                None
            }
        }
    }

    /// Makes it larger.
    pub fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(run(Command::new("mount").args(["-o", &options]).arg(&self.at)), "it could be mounted");
    }

    /// Fills what is left with one file and says which.
    pub fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = std::fs::File::create(&path).expect("a file can be made");
        // Ever smaller pieces, until not one byte more goes in.
        for size in [1 << 20, 1 << 12, 1 << 6, 1] {
            let piece = vec![1u8; size];
            while std::io::Write::write_all(&mut file, &piece).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: whoever still has a file open there does not keep it from going.
        run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
