//! The processes that a measurement is made of, on their cores, and how they end.
//!
//! Servers, load and spinners are processes of their own, because CPU time and memory are the kernel's figures for a process. Whatever
//! becomes of this one, they go with it: a guard kills them by their id, and the kernel does when this process dies without
//! running its destructors (`PR_SET_PDEATHSIG`: Ctrl-C, a panic that aborts, SIGKILL).

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

/// A program and its arguments.
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    pub fn new(path: PathBuf, arguments: &[&str]) -> Program {
        Program { path, arguments: arguments.iter().map(|text| text.to_string()).collect() }
    }

    /// This program again, in one of the hidden parts of `echo`.
    pub fn of_this_bench(part: &[&str]) -> Program {
        let path = std::env::current_exe().expect("this program's path");
        Program::new(path, &[&["echo"], part].concat())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments);
        die_with_this_process(&mut command);
        command
    }
}

/// The command's process is killed when this one ends. (When the thread that starts it ends, to be exact; that is the main thread.)
pub fn die_with_this_process(command: &mut Command) {
    // SAFETY: the closure makes one system call and touches no memory, so it may run between fork and exec.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

fn keep_on_core(command: &mut Command, core: usize) {
    // SAFETY: as above; the set is plain data of the closure's.
    unsafe {
        command.pre_exec(move || {
            let mut cores: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut cores);
            match libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const cores) {
                0 => Ok(()),
                _ => Err(io::Error::last_os_error()),
            }
        });
    }
}

/// A process that is told what to do, and answers, in lines.
pub struct Worker {
    child: Child,
    what: String,
    orders: ChildStdin,
    answers: Receiver<String>,
}

impl Worker {
    pub fn start(what: &str, program: &Program, core: usize) -> Result<Worker, String> {
        let mut command = program.command();
        keep_on_core(&mut command, core);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{what} cannot be started: {error}"))?;
        let orders = child.stdin.take().expect("stdin was asked to be a pipe");
        let answers = lines_of(child.stdout.take().expect("stdout was asked to be a pipe"));
        Ok(Worker { child, what: what.into(), orders, answers })
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn answer(&self, patience: Duration) -> Result<String, String> {
        self.answers.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => format!("{} said nothing for {patience:?}", self.what),
            RecvTimeoutError::Disconnected => format!("{} has ended", self.what),
        })
    }

    /// Gives an order and waits for its answer, without the word that says that it went well.
    pub fn ask(&mut self, order: &str, patience: Duration) -> Result<String, String> {
        writeln!(self.orders, "{order}").map_err(|error| format!("{}: {error}", self.what))?;
        let answer = self.answer(patience)?;
        match answer.split_once(' ') {
            Some(("ok", rest)) => Ok(rest.into()),
            _ => Err(format!("{}: {answer}", self.what)),
        }
    }

    /// CPU time that all threads of the process have taken, in the kernel too.
    pub fn cpu_ns(&self) -> Result<u64, String> {
        let mut clock = 0;
        // SAFETY: the kernel fills the two places, which live through the calls.
        let time = unsafe {
            let mut time: libc::timespec = std::mem::zeroed();
            let found = libc::clock_getcpuclockid(self.pid(), &raw mut clock);
            if found != 0 || libc::clock_gettime(clock, &raw mut time) != 0 {
                return Err(format!("{} has no CPU clock any more", self.what));
            }
            time
        };
        Ok(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    /// Resident bytes of the process.
    pub fn resident_bytes(&self) -> Result<u64, String> {
        let path = format!("/proc/{}/statm", self.pid());
        let statm = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let pages: u64 = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse().ok())
            .ok_or_else(|| format!("{path} is not what it was expected to be"))?;
        // SAFETY: a query without arguments that can be wrong.
        Ok(pages * unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Idle-priority processes that keep the cores from halting, until dropped.
pub struct Spinners {
    _workers: Vec<Worker>,
}

impl Spinners {
    pub fn on(cores: &[usize]) -> Result<Spinners, String> {
        let start = |core: &usize| Worker::start("a spinner", &Program::of_this_bench(&["spin"]), *core);
        Ok(Spinners { _workers: cores.iter().map(start).collect::<Result<_, _>>()? })
    }
}

/// A spinner's side.
pub fn spin() -> Result<(), String> {
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter lives through the call.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const priority) } != 0 {
        return Err(format!("idle priority was refused: {}", io::Error::last_os_error()));
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Raises this process's limit of open files as far as it goes, and gives it.
pub fn raise_open_files() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the limit lives through both calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
    }
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}
