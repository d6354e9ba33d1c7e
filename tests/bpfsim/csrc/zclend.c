/*
 * Borrows blocks from the simulated /dev/bpf, as only the patched libpcap
 * lends them.
 */
#include "simlend.h"

/*
 * What pcap_zc_info() says comes from the kernel.
 */
static void
info(void)
{
	struct options options = { .timeout = 100, .buffer_size = 65536 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_info said = info_of(p);
	struct pcap_zc_block block;

	check(said.lent == 1, "%s", said.reason);
	check(said.block_timeout == 100, "%u", said.block_timeout);
	check(said.kernel_mode == (read_mode() ? 1 : 2), "%d", said.kernel_mode);
	check(said.block_size == 65536, "%u", said.block_size);
	if (read_mode()) {
		check(said.mechanism == PCAP_ZC_MECH_BPF_READ && !said.shared,
		    "%u", said.mechanism);
		check(strstr(said.reason, "net.bpf.zerocopy_enable=1") != NULL,
		    "%s", said.reason);
	} else {
		check(said.mechanism == PCAP_ZC_MECH_BPF_ZBUF && said.shared,
		    "%u", said.mechanism);
		check(said.mapped == 2 * 65536 && said.kernel_count == 0,
		    "%llu", (unsigned long long)said.mapped);
		send_frames(3, 100);
		check(next(p, &block, 0) == 1, "nothing");
		check(info_of(p).kernel_count == 1 && info_of(p).held == 1,
		    "it hasn't been handed over");
		release(p, &block);
	}
	pcap_close(p);
}

static void
mode(void)
{
	struct options options = { .timeout = 100 };
	pcap_t *p = create(&options);
	struct pcap_zc_block block;
	int status;

	check(bpfsim_set_sysctl("net.bpf.zerocopy_enable", 0) == 0, "sysctl");
	check(pcap_zc_set_mode(p, PCAP_ZC_MODE_REQUIRED) == 0, "mode");
	status = pcap_activate(p);
	check(status == PCAP_ERROR_ZC_NOTSUP, "%d", status);
	check(strstr(pcap_geterr(p), "net.bpf.zerocopy_enable=1") != NULL,
	    "%s", pcap_geterr(p));

	pcap_close(p);

	/*
	 * When that has been done.
	 */
	options.device_ready = 1;
	p = create(&options);
	check(pcap_zc_set_mode(p, PCAP_ZC_MODE_REQUIRED) == 0, "mode");
	check(pcap_activate(p) == 0, "%s", pcap_geterr(p));
	check(info_of(p).shared == 1, "%s", info_of(p).reason);
	pcap_close(p);

	/*
	 * Kernels that take the mode, but not the buffers.
	 */
	check(bpfsim_fail(BIOCSETZBUF, ENOMEM, 1) == 0, "fail");
	p = open_device(&options);
	check(info_of(p).kernel_mode == 1 && info_of(p).lent == 1 &&
	    strstr(info_of(p).reason, "BIOCSETZBUF") != NULL, "%s",
	    info_of(p).reason);
	send_frames(3, 100);
	check(next(p, &block, 5000) == 1 && block.count == 3, "%u packets",
	    block.count);
	pcap_close(p);
	release(p, &block);
	check(bpfsim_fail(BIOCGETZMAX, ENOTTY, 1) == 0, "fail");
	p = create(&options);
	check(pcap_zc_set_mode(p, PCAP_ZC_MODE_REQUIRED) == 0, "mode");
	check(pcap_activate(p) == PCAP_ERROR_ZC_NOTSUP &&
	    strstr(pcap_geterr(p), "BIOCGETZMAX") != NULL, "%s", pcap_geterr(p));
	pcap_close(p);

	p = create(&options);
	check(pcap_zc_set_mode(p, PCAP_ZC_MODE_BUFFERED) == 0, "mode");
	check(pcap_activate(p) == 0, "%s", pcap_geterr(p));
	check(info_of(p).kernel_mode == 1 && info_of(p).lent == 0, "%s",
	    info_of(p).reason);
	check(pcap_zc_next(p, &block, 0) == PCAP_ERROR_ZC_NOTSUP, "%s",
	    pcap_geterr(p));
	pcap_close(p);
	check(bpfsim_open_descriptors() == 0, "%d are open",
	    bpfsim_open_descriptors());
}

/*
 * Two at a time, given back the other way round; and the third has to wait.
 */
static void
held(void)
{
	struct options options = { .timeout = 50, .buffer_size = 4096 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block blocks[2], none;
	struct seen seen = { 0, 1, 0 };
	int64_t began;
	int i;

	for (i = 0; i < 20; i++) {
		/*
		 * Seven fit into each, and the last one into neither.
		 */
		send_frames(15, 500);
		check(next(p, &blocks[0], 5000) == 1, "no first block");
		check(next(p, &blocks[1], 5000) == 1, "no second block");
		began = now_ms();
		check(pcap_zc_next(p, &none, 1000) == PCAP_ERROR_ZC_HELD, "%s",
		    pcap_geterr(p));
		check(pcap_dispatch(p, -1, take, NULL) == PCAP_ERROR_ZC_HELD,
		    "%s", pcap_geterr(p));
		check(now_ms() - began < within(100), "that took a while");
		check(info_of(p).held == 2, "%u", info_of(p).held);
		see_block(&seen, &blocks[0]);
		see_block(&seen, &blocks[1]);
		release(p, &blocks[(i + 1) % 2]);
		release(p, &blocks[i % 2]);
		check(pcap_zc_release(p, &blocks[0]) == PCAP_ERROR, "twice");
	}
	check(seen.count == 20 * 14 && seen.missing == 19, "%u, %u missing",
	    seen.count, seen.missing);
	check(next(p, &none, 0) == 0, "there's more");
	pcap_close(p);
}

/*
 * With one buffer held, packets that arrive in the other one, and then
 * silence, come within the timeout, and don't come again.
 */
static void
burst(void)
{
	struct options options = { .timeout = 100, .buffer_size = 65536 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block first, second;
	struct seen seen = { 0, 1, 0 };
	int64_t began, cpu;
	int i;

	send_frames(3, 200);
	check(next(p, &first, 5000) == 1, "no block");
	for (i = 1; i <= 5; i++) {
		send_frames(10, 200);
		began = now_ms();
		check(next(p, &second, 5000) == 1, "burst %d is stranded", i);
		check(now_ms() - began < within(130), "burst %d came after %d ms", i,
		    (int)(now_ms() - began));
		if (i == 1)
			see_block(&seen, &first);
		see_block(&seen, &second);
		release(p, &second);
		check(seen.count == 3 + 10U * i, "%u frames", seen.count);
	}
	check(info_of(p).copied > 50 * 200, "nothing was copied");
	began = now_ms();
	cpu = cpu_ms();
	check(next(p, &second, 500) == 0, "there's more");
	check(now_ms() - began >= 500 && now_ms() - began < within(600), "after %d ms",
	    (int)(now_ms() - began));
	check(cpu_ms() - cpu < 30, "used %d ms of CPU", (int)(cpu_ms() - cpu));
	release(p, &first);

	/*
	 * The buffer itself, from where we've got to.
	 */
	send_frames(4, 200);
	check(next(p, &first, 5000) == 1, "no block");
	see_block(&seen, &first);
	check(first.count == 4 && seen.missing == 0, "%u, %u missing",
	    first.count, seen.missing);
	release(p, &first);
	pcap_close(p);
}

/*
 * Without a timeout, they come when the caller won't wait any longer.
 */
static void
burst_without_timeout(void)
{
	struct options options = { .timeout = 0, .buffer_size = 65536 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block first, second;

	send_frames(3, 100);
	check(next(p, &first, 0) == 1, "no block");
	send_frames(5, 100);
	check(next(p, &second, 30) == 1 && second.count == 5, "%u packets",
	    second.count);
	release(p, &second);
	release(p, &first);
	pcap_close(p);
}

/*
 * Packets that arrive while a buffer is out, which then comes back, and
 * silence.
 */
static void
tail(void)
{
	struct options options = { .timeout = 100 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block block;
	struct seen seen = { 0, 1, 0 };
	int64_t began;
	int i;

	for (i = 0; i < 10; i++) {
		send_frames(3, 100);
		check(next(p, &block, 5000) == 1, "no block");
		see_block(&seen, &block);
		send_frames(2, 100);
		release(p, &block);
		began = now_ms();
		while (seen.count < 5U * (i + 1)) {
			check(next(p, &block, 5000) == 1, "%u frames of %d",
			    seen.count, 5 * (i + 1));
			see_block(&seen, &block);
			release(p, &block);
		}
		check(now_ms() - began < within(150), "after %d ms",
		    (int)(now_ms() - began));
	}
	check(seen.missing == 0, "%u are missing", seen.missing);
	pcap_close(p);
}

/*
 * A caller that won't wait as long as the kernel's timeout, and asks for the
 * counters between two tries, which makes that start anew.
 */
static void
shorter_than_the_timeout(void)
{
	struct options options = { .timeout = 10000 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block block;
	struct pcap_stat stats;
	uint32_t count = 0;
	int i;

	for (i = 0; i < 3; i++) {
		send_frames(2, 100);
		check(pcap_stats(p, &stats) == 0, "%s", pcap_geterr(p));
		check(next(p, &block, i * 20) == 1, "nothing in %d ms", i * 20);
		count += block.count;
		release(p, &block);
		check(next(p, &block, i * 20) == 0, "there's more");
	}
	check(count == 6, "%u packets", count);
	pcap_close(p);
}

/*
 * Closed with blocks lent: nothing is captured any more, the blocks stay.
 */
static void
close_early(void)
{
	struct options options = { .timeout = 50, .buffer_size = 4096 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block blocks[2];
	struct seen seen = { 0, 1, 0 };
	int i, n = read_mode() ? 1 : 2;

	send_frames(read_mode() ? 7 : 15, 500);
	for (i = 0; i < n; i++)
		check(next(p, &blocks[i], 5000) == 1, "no block");
	check(bpfsim_promiscuous(DEVICE) == 0, "it's promiscuous");
	pcap_close(p);
	check(bpfsim_open_descriptors() == 0, "a descriptor is open");
	send_frames(50, 500);
	for (i = 0; i < n; i++)
		see_block(&seen, &blocks[i]);
	check(seen.count == 7U * n && seen.missing == 0, "%u", seen.count);
	for (i = n - 1; i >= 0; i--)
		release(p, &blocks[i]);
}

/*
 * A dispatch that stops in the middle, and the rest of it lent.
 */
static void
mix(void)
{
	struct options options = { .timeout = 50 };
	pcap_t *p = open_device(&options);
	struct pcap_zc_block block;
	struct seen seen = { 0, 1, 0 };
	int i, n;

	for (i = 1; i <= 10; i++) {
		send_frames(10, 100);
		n = dispatch_some(p, 4, take, &seen);
		check(n == 4, "%d: %s", n, pcap_geterr(p));
		check(next(p, &block, 5000) == 1 && block.count == 6,
		    "%u packets", block.count);
		see_block(&seen, &block);
		release(p, &block);
	}
	check(seen.count == 100 && seen.missing == 0, "%u", seen.count);
	pcap_close(p);
}

static const struct test_case cases[] = {
	{ "info", info },
	{ "mode", mode },
	{ "held", held },
	{ "burst", burst },
	{ "patient", burst_without_timeout },
	{ "tail", tail },
	{ "short", shorter_than_the_timeout },
	{ "close", close_early },
	{ "mix", mix },
	{ NULL, NULL }
};

int
main(int argc, char **argv)
{
	return (run_case(cases, argc, argv));
}
