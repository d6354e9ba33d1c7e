/*
 * How a test steers the simulated /dev/bpf.  Everything here is exported from
 * the shared library that also holds libpcap, so that ctypes reaches it.
 *
 * Unless said otherwise a function returns 0, or -1 with errno set.
 */
#ifndef BPFSIM_H
#define BPFSIM_H

#include <sys/types.h>
#include <sys/select.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Back to what the library starts with: the default interfaces, sysctls and no
 * failures to come.  Descriptors stay open, but their interfaces are gone.
 */
extern int bpfsim_reset(void);

/*
 * Interfaces.  A second bpfsim_add_interface() with another DLT gives the
 * interface one more link-layer type, as bpfattach2() does; packets arrive
 * with the first.  What is written to an interface arrives at its peer.
 */
extern int bpfsim_add_interface(const char *name, int dlt, int mtu);
extern int bpfsim_remove_interface(const char *name);
extern int bpfsim_set_up(const char *name, int up);
extern int bpfsim_set_mtu(const char *name, int mtu);
extern int bpfsim_set_peer(const char *name, const char *peer);
/* Packets of a Linux device, and packets written go out there. */
extern int bpfsim_attach_device(const char *name, const char *linux_device);
/* How many descriptors asked for promiscuous mode and still have it. */
extern int bpfsim_promiscuous(const char *name);
/* Packets that the packet socket of an attached device lost. */
extern int64_t bpfsim_device_drops(const char *name);

/*
 * Traffic.  bpfsim_send() returns when every descriptor has seen the packet,
 * bpfsim_queue() at once.  A wirelen above len is made up with zeros: a kernel
 * has all of a packet.  They return the number of packets.
 */
extern int bpfsim_send(const char *name, const void *packet, size_t len, size_t wirelen);
extern int bpfsim_send_outgoing(const char *name, const void *packet, size_t len);
extern int bpfsim_queue(const char *name, const void *packet, size_t len, size_t wirelen);
extern int bpfsim_send_many(const char *name, const void *packets, const uint32_t *lengths, int count);
/*
 * Frames made up by the kernel thread: broadcast, EtherType 0x88b5, a number
 * that counts up in network order at offset 14, then (number + offset) & 0xff.
 * Every frame has min to max bytes, as bpfsim_flood_length() tells.  After
 * each there is a pause of gap_us, after each `burst` of them one of pause_us.
 */
extern int bpfsim_flood(const char *name, uint64_t count, int min, int max, uint32_t seed, int gap_us);
extern int bpfsim_bursts(const char *name, uint64_t count, int len, int burst, int gap_us, int pause_us);
extern int bpfsim_flood_length(uint32_t seed, uint32_t number, int min, int max);
extern int bpfsim_stop_flood(void);
/* The number that the next frame gets; starts with 1. */
extern int bpfsim_set_sequence(const char *name, uint32_t next);
extern int64_t bpfsim_sequence(const char *name);
/* Until all that was asked for has arrived: 0, or -1 with ETIMEDOUT. */
extern int bpfsim_drain(int timeout_ms);

/* net.bpf.zerocopy_enable, net.bpf.maxbufsize, net.bpf.bufsize, net.bpf.maxinsns */
extern int bpfsim_set_sysctl(const char *name, int value);
extern int bpfsim_sysctlbyname(const char *, void *, size_t *, const void *, size_t);

/*
 * Failures to come.  The next `times` ioctls of this number (all from now on
 * if negative) fail with this errno; the next `times` opens of a device too.
 */
extern int bpfsim_fail(unsigned long command, int error, int times);
extern int bpfsim_fail_open(int error, int times);
/*
 * n >= 0: no cloning /dev/bpf but /dev/bpf0 to /dev/bpf<n-1>, one open each.
 * n < 0: the cloning device again.
 */
extern int bpfsim_set_minors(int n);

/*
 * What libpcap asked of the system: "open", "close", "ioctl", "read", "write",
 * "poll", "select", "fcntl", "mmap", "munmap"; of "ioctl" one number, or all
 * of them with 0.  "all" is the sum.
 */
extern int64_t bpfsim_count(const char *kind, unsigned long command);
extern int bpfsim_reset_counts(void);
/* What forked children asked of descriptors that they share with us. */
extern int64_t bpfsim_child_calls(void);
/* CPU time that the threads of the simulated kernel have used. */
extern int64_t bpfsim_kernel_cpu_ns(void);
/* Descriptors that are open. */
extern int bpfsim_open_descriptors(void);

/*
 * Whether somebody outside the library polls descriptors: then a read timeout
 * that runs out for him counts for the next read as well.
 */
extern int bpfsim_set_outside_poller(int);
/*
 * Whether the kernel writes through mappings of its own (the default but for
 * ThreadSanitizer builds, which could not see such writes).
 */
extern int bpfsim_set_alias(int);

/* minherit(2) for shared buffers: 0 share, 1 copy, 2 none. */
extern int bpfsim_minherit(void *, size_t, int);

/* The system calls as libpcap's objects see them, not counted. */
extern int bpfsim_open(const char *, int);
extern int bpfsim_close(int);
extern int bpfsim_ioctl(int, unsigned long, void *);
extern ssize_t bpfsim_read(int, void *, size_t);
extern ssize_t bpfsim_write(int, const void *, size_t);
extern int bpfsim_poll(struct pollfd *, nfds_t, int);
extern int bpfsim_select(int, fd_set *, fd_set *, fd_set *, struct timeval *);
extern int bpfsim_munmap(void *, size_t);

#ifdef __cplusplus
}
#endif

#endif /* BPFSIM_H */
