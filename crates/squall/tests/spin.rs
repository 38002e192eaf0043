//! Looking for news before sleeping: it saves the sleep where something comes, and gives up where nothing does.

use squall::Builder;
use squall::time::sleep;
use std::time::Duration;

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn what_comes_from_another_thread_meanwhile_needs_no_sleep() {
    // So long that only news end it.
    let builder = Builder::new().spin(Duration::from_secs(600));
    let totals = builder
        .run(async {
            for n in 0..10 {
                assert_eq!(squall::blocking::run(move || n).await, n);
            }
            squall::io_totals()
        })
        .unwrap();
    assert!(totals.spins > 0, "{totals:?}");
    assert_eq!(totals.spins, totals.spins_that_paid, "{totals:?}");
    assert!(totals.spun > Duration::ZERO);
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn a_timer_ends_a_spin() {
    let builder = Builder::new().spin(Duration::from_secs(600));
    let totals = builder
        .run(async {
            // (Where this thread is held up a sleep is over before it begins.)
            for _ in 0..1000 {
                sleep(Duration::from_micros(50)).await;
                if squall::io_totals().spins > 0 {
                    break;
                }
            }
            squall::io_totals()
        })
        .unwrap();
    assert_eq!((totals.spins, totals.spins_that_paid), (1, 1));
}

#[test]
#[cfg_attr(miri, ignore = "no epoll there")]
fn where_nothing_comes_it_gives_up() {
    let builder = Builder::new().spin(Duration::from_nanos(1));
    let totals = builder
        .run(async {
            for _ in 0..100 {
                sleep(Duration::from_micros(10)).await;
            }
            squall::io_totals()
        })
        .unwrap();
    // (Where this thread is held up in the midst of a spin the timer is due, and the spin counts as one that paid.)
    let most = 7 * (1 + totals.spins_that_paid);
    assert!(
        totals.spins <= most + totals.spins_that_paid,
        "1 + 2 + 4 + … sleeps go by without one: {totals:?}"
    );
}

#[test]
fn it_is_off_unless_asked_for_and_under_virtual_time() {
    for builder in [Builder::new().virtual_time().spin(Duration::from_secs(1)), Builder::new().virtual_time()]
    {
        let totals = builder
            .run(async {
                sleep(Duration::from_secs(5)).await;
                squall::io_totals()
            })
            .unwrap();
        assert_eq!((totals.spins, totals.spun), (0, Duration::ZERO));
    }
}
