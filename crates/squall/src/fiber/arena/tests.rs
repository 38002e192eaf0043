//! The arena by itself: addresses, guards, memory that comes and goes.

use super::*;

fn pool(bytes: usize, guards: Guards) -> &'static Pool {
    Box::leak(Box::new(Pool::new(bytes, guards)))
}

fn every_way() -> Vec<Guards> {
    let mut ways = vec![Guards::Gaps];
    ways.extend((super::guards() == Guards::Marks).then_some(Guards::Marks));
    ways
}

/// Whether the kernel would let this be written: asked by a system call, which fails where an access would end the process.
fn may_be_written(at: usize) -> bool {
    let (reader, writer) = io::pipe().unwrap();
    let mut writer = writer;
    io::Write::write_all(&mut writer, b"x").unwrap();
    // SAFETY: the kernel checks the address, and writes one byte to memory of a stack that nobody uses.
    unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&reader), at as *mut _, 1) == 1 }
}

#[test]
fn a_stack_can_be_written_and_its_guard_cannot() {
    for guards in every_way() {
        let pool = pool(16 * 1024, guards);
        let stacks: Vec<Stack> = (0..40).map(|_| pool.take().unwrap()).collect();
        for stack in &stacks {
            let span = stack.span();
            assert!(may_be_written(span.floor) && may_be_written(span.top - 1), "{guards:?}");
            assert!(!may_be_written(span.limit) && !may_be_written(span.floor - 1), "{guards:?}");
        }
    }
}

#[test]
fn no_two_stacks_share_memory_and_the_latest_comes_first() {
    for guards in every_way() {
        let pool = pool(32 * 1024, guards);
        let stacks: Vec<Stack> = (0..2000).map(|_| pool.take().unwrap()).collect();
        let mut spans: Vec<_> = stacks.iter().map(|stack| (stack.span().limit, stack.span().top)).collect();
        spans.sort_unstable();
        assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{guards:?}");
        assert_eq!(pool.in_use.get(), 2000);

        let last = stacks[1999].span().limit;
        drop(stacks);
        assert_eq!(pool.in_use.get(), 0);
        assert_eq!(pool.warm.borrow().len() + pool.cold.borrow().len(), 2000);
        let again = pool.take().unwrap();
        assert!(
            spans.binary_search(&(again.span().limit, again.span().top)).is_ok(),
            "none is made while one is pooled"
        );
        assert_ne!(again.span().limit, last, "dropped later than those that fill the warm pool");
    }
}

#[test]
fn the_memory_of_all_but_a_few_pooled_stacks_is_given_back() {
    let pool = pool(64 * 1024, super::guards());
    let stacks: Vec<Stack> = (0..WARM + 10).map(|_| pool.take().unwrap()).collect();
    let spans: Vec<_> = stacks.iter().map(Stack::span).collect();
    for span in &spans {
        // As frames do: every page, from the top.
        for at in (span.floor..span.top).step_by(4096).chain([span.top - 8]) {
            // SAFETY: words of a stack that nobody runs on.
            unsafe { (at as *mut u64).write_volatile(7) };
        }
    }
    drop(stacks);
    // SAFETY: as above; the memory of pooled stacks stays mapped.
    let is_kept = |at: usize| unsafe { (at as *const u64).read_volatile() } == 7;
    assert_eq!(spans.iter().filter(|span| is_kept(span.floor)).count(), HOT);
    assert_eq!(spans.iter().filter(|span| is_kept(span.top - 8)).count(), WARM);
}

#[test]
fn first_frames_lie_at_different_lines_of_their_pages() {
    let pool = pool(256 * 1024, super::guards());
    let stacks: Vec<Stack> = (0..64).map(|_| pool.take().unwrap()).collect();
    let mut lines: Vec<usize> = stacks.iter().map(|stack| stack.base % 4096).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), COLOURS);
    assert!(stacks.iter().all(|stack| stack.span().top - stack.base < 2048 && stack.base.is_multiple_of(16)));
}

#[test]
fn what_was_used_of_a_clean_stack_is_seen() {
    let stacks = Stacks { pools: RefCell::new(Vec::new()) };
    for _ in 0..2 {
        let stack = stacks.take_clean(64 * 1024).unwrap();
        let span = stack.span();
        // SAFETY: a live stack on which nothing runs.
        unsafe {
            assert_eq!(span.used(), 0);
            ((span.top - 5000) as *mut u64).write_volatile(1);
            assert_eq!(span.used(), 5000);
        }
    }
}

#[test]
fn sizes_are_rounded_and_bounded() {
    let stacks = Stacks { pools: RefCell::new(Vec::new()) };
    assert_eq!(stacks.take(1).unwrap().span().bytes(), LEAST_BYTES);
    assert_eq!(stacks.take(100_000).unwrap().span().bytes(), 128 * 1024);
    let error = stacks.take(MOST_BYTES + 1).err().unwrap();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    assert_eq!(stacks.totals().pooled, 2);
}
