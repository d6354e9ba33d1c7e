/*
 * What CPU time a consumer needs for so many packets, with stock calls only:
 *
 *	zcflood PACKETS LENGTH BUFFER-SIZE [GAP-MICROSECONDS]
 *
 * prints packets that came, packets dropped, and, for each packet that came,
 * nanoseconds, without those of the simulated kernel's threads, and how many
 * system calls libpcap made for 1000 of them.  What a system call
 * costs there is not what it costs on FreeBSD, so compare only with each
 * other what this prints for two libraries, or for two modes (BPFSIM_READ).
 */
#include "simtest.h"

static void
count(u_char *user, const struct pcap_pkthdr *h, const u_char *frame)
{
	(void)frame;
	((uint64_t *)user)[0]++;
	((uint64_t *)user)[1] += h->caplen;
}

static int64_t
cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return ((int64_t)t.tv_sec * 1000000000 + t.tv_nsec -
	    bpfsim_kernel_cpu_ns());
}

int
main(int argc, char **argv)
{
	struct options options = { .timeout = 100 };
	struct pcap_stat stats;
	uint64_t seen[2] = { 0, 0 };
	uint64_t packets;
	int64_t began, calls;
	pcap_t *p;
	int n, length;

	if (argc < 4) {
		fprintf(stderr, "usage: %s PACKETS LENGTH BUFFER-SIZE [GAP]\n",
		    argv[0]);
		return (2);
	}
	packets = strtoull(argv[1], NULL, 10);
	length = atoi(argv[2]);
	options.buffer_size = atoi(argv[3]);
	alarm(120);
	p = open_device(&options);
	bpfsim_reset_counts();
	began = cpu_ns();
	check(bpfsim_flood(DEVICE, packets, length, length, 1,
	    argc > 4 ? atoi(argv[4]) : 0) >= 0, "%s", strerror(errno));
	do {
		n = pcap_dispatch(p, -1, count, (u_char *)seen);
		check(n >= 0, "%s", pcap_geterr(p));
		check(pcap_stats(p, &stats) == 0, "%s", pcap_geterr(p));
	} while (seen[0] + stats.ps_drop < packets);
	began = cpu_ns() - began;
	calls = bpfsim_count("all", 0) -
	    bpfsim_count("ioctl", BIOCGSTATS /* ours */);
	check(seen[1] == seen[0] * (uint64_t)length, "bytes are missing");
	if (seen[0] == 0)
		seen[0] = 1;
	printf("%llu came, %u dropped, %.1f ns a packet, %.2f calls for 1000\n",
	    (unsigned long long)seen[0], stats.ps_drop,
	    (double)began / (double)seen[0],
	    (double)calls * 1000 / (double)seen[0]);
	pcap_close(p);
	return (0);
}
