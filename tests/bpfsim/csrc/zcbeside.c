/*
 * Borrows blocks while something else goes on: other threads, signals, a
 * change of the filter, the kernel's own doings.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/time.h>

#include "simlend.h"

static void *
wake_after_100_ms(void *p)
{
	sleep_ms(100);
	pcap_zc_wakeup(p);
	return (NULL);
}

static pcap_t *handle;

static void
wake_on_signal(int signal_number)
{
	(void)signal_number;
	pcap_zc_wakeup(handle);
}

static void
wakeup(void)
{
	struct options options = { .timeout = 0 };
	pcap_t *p = open_device(&options);
	struct itimerval timer = { { 0, 0 }, { 0, 100000 } };
	struct sigaction action;
	struct pcap_zc_block block;
	int64_t began = now_ms();
	pthread_t thread;

	pthread_create(&thread, NULL, wake_after_100_ms, p);
	check(pcap_zc_next(p, &block, -1) == PCAP_ERROR_BREAK, "%s",
	    pcap_geterr(p));
	pthread_join(thread, NULL);
	check(now_ms() - began < within(300), "after %d ms", (int)(now_ms() - began));

	handle = p;
	memset(&action, 0, sizeof(action));
	action.sa_handler = wake_on_signal;
	action.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	began = now_ms();
	check(pcap_zc_next(p, &block, -1) == PCAP_ERROR_BREAK, "%s",
	    pcap_geterr(p));
	check(now_ms() - began < within(300), "the signal: after %d ms",
	    (int)(now_ms() - began));
	/*
	 * The signal has interrupted it, and perhaps the next call, too.
	 */
	while (pcap_zc_next(p, &block, 0) == PCAP_ERROR_BREAK)
		;
	check(next(p, &block, 0) == 0, "%s", pcap_geterr(p));
	pcap_close(p);
}

/*
 * One thread borrows, another one gives back, while packets arrive; all that
 * the kernel took is delivered once, or counted as dropped.
 */
struct returned {
	pcap_t *p;
	struct pcap_zc_block block;
	int full;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void *
give_back(void *argument)
{
	struct returned *returned = argument;
	struct pcap_zc_block block;
	int done = 0;

	while (!done) {
		pthread_mutex_lock(&returned->lock);
		while (!returned->full)
			pthread_cond_wait(&returned->changed, &returned->lock);
		block = returned->block;
		done = returned->full == 2;
		returned->full = 0;
		pthread_cond_signal(&returned->changed);
		pthread_mutex_unlock(&returned->lock);
		if (!done) {
			if (block.count % 3 == 0)
				sleep_ms(1);
			release(returned->p, &block);
		}
	}
	return (NULL);
}

static void
hand_over(struct returned *returned, const struct pcap_zc_block *block)
{
	pthread_mutex_lock(&returned->lock);
	while (returned->full)
		pthread_cond_wait(&returned->changed, &returned->lock);
	if (block != NULL)
		returned->block = *block;
	returned->full = block != NULL ? 1 : 2;
	pthread_cond_signal(&returned->changed);
	pthread_mutex_unlock(&returned->lock);
}

static uint32_t
frame_count(void)
{
	const char *said = getenv("BPFSIM_FRAMES");

	return (said != NULL ? (uint32_t)strtoul(said, NULL, 10) : 100000);
}

static void
threads(void)
{
	struct options options = { .timeout = 20, .buffer_size = 16384 };
	pcap_t *p = open_device(&options);
	struct returned returned = { .p = p, .lock = PTHREAD_MUTEX_INITIALIZER,
	    .changed = PTHREAD_COND_INITIALIZER };
	struct pcap_zc_block block;
	struct pcap_stat stats;
	struct seen seen = { 0, 1, 0 };
	uint32_t sent = frame_count();
	pthread_t thread;
	int status, idle = 0;

	alarm(600);
	pthread_create(&thread, NULL, give_back, &returned);
	check(bpfsim_flood(DEVICE, sent, 60, 1500, 7, 3) >= 0, "flood");
	while (idle < 5) {
		status = pcap_zc_next(p, &block, 20);
		if (status == PCAP_ERROR_ZC_HELD) {
			sched_yield();
			continue;
		}
		check(status >= 0, "%s", pcap_geterr(p));
		if (status == 0) {
			idle = bpfsim_drain(0) == 0 ? idle + 1 : 0;
			continue;
		}
		idle = 0;
		see_block(&seen, &block);
		hand_over(&returned, &block);
	}
	hand_over(&returned, NULL);
	pthread_join(thread, NULL);
	check(pcap_stats(p, &stats) == 0, "%s", pcap_geterr(p));
	check(stats.ps_recv == sent && seen.count + stats.ps_drop == sent,
	    "%u sent, %u received, %u dropped, %u came", sent, stats.ps_recv,
	    stats.ps_drop, seen.count);
	printf("%u of %u came in %llu blocks, %llu bytes copied\n", seen.count,
	    sent, (unsigned long long)info_of(p).blocks,
	    (unsigned long long)info_of(p).copied);
	pcap_close(p);
}

static void
set_filter(pcap_t *p, const char *text)
{
	struct bpf_program program;

	check(pcap_compile(p, &program, text, 1, PCAP_NETMASK_UNKNOWN) == 0,
	    "%s", pcap_geterr(p));
	check(pcap_setfilter(p, &program) == 0, "%s", pcap_geterr(p));
	pcap_freecode(&program);
}

/*
 * A filter set with a block lent and packets waiting: those that match come,
 * all of them, and the others don't; the counters go on.
 */
static void
filter(void)
{
	struct options options = { .timeout = 50, .buffer_size = 65536,
	    .snaplen = 40 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block lent, block;
	struct pcap_stat stats;
	uint32_t i, count = 0;
	int round, status;

	for (round = 0; round < 6; round++) {
		send_frames(3, 100);
		check(next(p, &lent, 5000) == 1 && lent.count == 3,
		    "%u packets", lent.count);
		send_frames(4, 100);
		send_frames(4, 200);
		set_filter(p, round % 2 ? "greater 150" : "less 150");
		send_frames(5, 200);
		send_frames(5, 100);
		release(p, &lent);
		do {
			/*
			 * All that is to come, and then nothing more.
			 */
			status = next(p, &block, count < 9U * (round + 1) ?
			    5000 : 120);
			for (i = 0; i < block.count; i++)
				check((block.index[i].wirelen > 150) ==
				    round % 2, "round %d: one of %u bytes came",
				    round, block.index[i].wirelen);
			count += block.count;
			if (status == 1)
				release(p, &block);
		} while (status == 1);
		check(count == 9U * (round + 1), "round %d: %u came", round,
		    count);
		set_filter(p, "");
	}
	check(pcap_stats(p, &stats) == 0, "%s", pcap_geterr(p));
	check(stats.ps_recv == 6 * 21 && stats.ps_drop == 0, "%u received, %u dropped",
	    stats.ps_recv, stats.ps_drop);
	pcap_close(p);
}

/*
 * When the kernel refuses a filter, the one that it has must not stay.
 */
static void
refused(void)
{
	struct options options = { .timeout = 50 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block block;

	set_filter(p, "greater 500");
	check(bpfsim_fail(BIOCSETFNR, EINVAL, 1) == 0, "fail");
	set_filter(p, "less 500");
	send_frames(4, 100);
	send_frames(4, 600);
	check(next(p, &block, 5000) == 1 && block.count == 4 &&
	    block.index[0].wirelen == 100, "%u came", block.count);
	release(p, &block);
	pcap_close(p);
}

/*
 * No system call is made when the next buffer is already ours; for a partly
 * filled one there's a wait, and the kernel is asked to hand it over; if it
 * doesn't, as packets came while we had the other one, it's asked how many.
 */
static void
calls(void)
{
	struct options options = { .timeout = 1000, .buffer_size = 4096 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block block;
	int64_t made;
	int i;

	for (i = 0; i < 10; i++) {
		send_frames(15, 500);
		bpfsim_reset_counts();
		check(next(p, &block, 5000) == 1, "no first block");
		release(p, &block);
		check(next(p, &block, 5000) == 1, "no second block");
		made = bpfsim_count("all", 0);
		check(made == 0, "%lld calls for full ones", (long long)made);
		release(p, &block);

		send_frames(2, 500);
		bpfsim_reset_counts();
		check(next(p, &block, 0) == 1 && block.count == 2, "%u packets",
		    block.count);
		made = bpfsim_count("all", 0);
		check(made == 2, "%lld calls for a partial one", (long long)made);
		send_frames(2, 500);
		release(p, &block);

		bpfsim_reset_counts();
		check(next(p, &block, 0) == 1 && block.count == 2, "%u packets",
		    block.count);
		made = bpfsim_count("all", 0);
		check(made == 3, "%lld calls for a stranded one", (long long)made);
		release(p, &block);
	}
	/*
	 * With nothing there, one wait.
	 */
	bpfsim_reset_counts();
	check(next(p, &block, 30) == 0, "there's more");
	made = bpfsim_count("all", 0);
	check(made <= 4, "%lld calls for nothing", (long long)made);
	pcap_close(p);
}

static const struct test_case cases[] = {
	{ "wakeup", wakeup },
	{ "threads", threads },
	{ "filter", filter },
	{ "refused", refused },
	{ "calls", calls },
	{ NULL, NULL }
};

int
main(int argc, char **argv)
{
	return (run_case(cases, argc, argv));
}
