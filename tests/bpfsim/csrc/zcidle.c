/*
 * Captures of which nothing comes for ten seconds, and what CPU time they use.
 */
#include <pthread.h>

#include "simtest.h"

static void *
break_after_10_s(void *p)
{
	sleep_ms(10000);
	pcap_breakloop(p);
	return (NULL);
}

/*
 * Ten seconds in which nothing arrives, once after a quiet start and once
 * with packets that came while a buffer was being read: less than 1 % of a
 * CPU.  With a timeout of 0 those packets needn't come.
 */
static void
idle(const struct options *options, int poll_first, int stranded)
{
	pcap_t *p = open_device(options);
	struct pollfd fds = { pcap_get_selectable_fd(p), POLLIN, 0 };
	char errbuf[PCAP_ERRBUF_SIZE];
	struct tail tail = { { 0, 1, 0 }, 2 };
	int64_t began, cpu;
	pthread_t thread;
	int n;

	check(pcap_setnonblock(p, stranded || poll_first, errbuf) == 0, "%s", errbuf);
	if (stranded) {
		send_frames(3, 100);
		check(dispatch_some(p, -1, take_and_send, &tail) == 3,
		    "%u frames", tail.seen.count);
		check(pcap_setnonblock(p, poll_first, errbuf) == 0, "%s", errbuf);
	}
	began = now_ms();
	cpu = cpu_ms();
	pthread_create(&thread, NULL, break_after_10_s, p);
	for (;;) {
		if (poll_first)
			bpfsim_poll(&fds, 1, 1000);
		n = dispatch(p, &tail.seen);
		if (n == PCAP_ERROR_BREAK)
			break;
		check(n >= 0, "%s", pcap_geterr(p));
	}
	pthread_join(thread, NULL);
	check(now_ms() - began > 9000, "it was over after %d ms",
	    (int)(now_ms() - began));
	check(tail.seen.count == (stranded ? 5 : 0) ||
	    options->timeout == 0, "%u frames", tail.seen.count);
	printf("%d ms of CPU\n", (int)(cpu_ms() - cpu));
	check(cpu_ms() - cpu < 100, "used %d ms of CPU in 10 s",
	    (int)(cpu_ms() - cpu));
	pcap_close(p);
}

static void
idle_in_each_way(const struct options *options, int poll_first)
{
	struct options again = *options;

	idle(options, poll_first, 0);
	again.device_ready = 1;
	check(bpfsim_set_sequence(DEVICE, 1) >= 0, "sequence");
	if (!read_mode())
		idle(&again, poll_first, 1);
}

static void
idle_blocking(void)
{
	struct options options = { .timeout = 100 };

	idle_in_each_way(&options, 0);
}

static void
idle_polling(void)
{
	struct options options = { .timeout = 100 };

	idle_in_each_way(&options, 1);
}

static void
idle_immediate(void)
{
	struct options options = { .timeout = 100, .immediate = 1 };

	idle_in_each_way(&options, 0);
}

static void
idle_forever(void)
{
	struct options options = { .timeout = 0 };

	idle_in_each_way(&options, 0);
}

static const struct test_case cases[] = {
	{ "blocking", idle_blocking },
	{ "polling", idle_polling },
	{ "immediate", idle_immediate },
	{ "forever", idle_forever },
	{ NULL, NULL }
};

int
main(int argc, char **argv)
{
	return (run_case(cases, argc, argv));
}
