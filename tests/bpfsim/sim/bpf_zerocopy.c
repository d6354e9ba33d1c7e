/*
 * sys/net/bpf_zerocopy.c: buffers of the user's.
 *
 * The kernel there wires the user's pages and writes to them through mappings
 * of its own.  So does this: memory that is shared is mapped a second time;
 * private memory is first replaced, contents kept, by a shared mapping of a
 * memory file (fork.c makes that mapping copy-on-write when the process
 * forks, which is what becomes of private memory then).  Without sim_alias it
 * writes to the user's addresses.
 */
#define _GNU_SOURCE
#include "sim.h"

#include <sys/mman.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static size_t
page_size(void)
{
	return ((size_t)sysconf(_SC_PAGESIZE));
}

/*
 * bpf_zerocopy_buffull() and bpf_zerocopy_bufheld(): the length first, then
 * the generation, so that who sees the one sees the other.
 */
void
zbuf_hand_over(struct buf *b, u_int len)
{
	if (b->b_assigned)
		return;
	b->b_assigned = 1;
	b->b_header->bzh_kernel_len = len;
	(void)__atomic_fetch_add(&b->b_header->bzh_kernel_gen, 1, __ATOMIC_RELEASE);
}

/*
 * Whether all of a range is mapped for reading and writing, and whether all of
 * it is shared: what vm_fault_quick_hold_pages() would find out.
 */
int
zbuf_writable(const u_char *addr, size_t len, int *shared)
{
	unsigned long at = (unsigned long)addr, end = at + len, from, to;
	char line[512], perms[5];
	FILE *maps;

	*shared = 1;
	maps = fopen("/proc/self/maps", "re");
	if (maps == NULL)
		return (0);
	while (at < end && fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) != 3)
			continue;
		if (to <= at)
			continue;
		if (from > at || perms[0] != 'r' || perms[1] != 'w')
			break;
		if (perms[3] != 's')
			*shared = 0;
		at = to;
	}
	(void)fclose(maps);
	return (at >= end);
}

/* Our own mapping of private memory. */
static int
zbuf_take_over(struct buf *b)
{
	b->b_memfd = memfd_create("bpfsim-zbuf", MFD_CLOEXEC);
	if (b->b_memfd < 0)
		return (ENOMEM);
	if (ftruncate(b->b_memfd, (off_t)b->b_size) < 0)
		return (ENOMEM);
	b->b_kva = __real_mmap(NULL, b->b_size, PROT_READ | PROT_WRITE, MAP_SHARED, b->b_memfd, 0);
	if (b->b_kva == MAP_FAILED) {
		b->b_kva = NULL;
		return (ENOMEM);
	}
	memcpy(b->b_kva, b->b_uaddr, b->b_size);
	if (__real_mmap(b->b_uaddr, b->b_size, PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_FIXED, b->b_memfd, 0) == MAP_FAILED)
		return (ENOMEM);
	return (0);
}

/* zbuf_setup() */
static int
zbuf_setup(u_char *uaddr, size_t len, struct buf **bp)
{
	struct buf *b;
	int error = 0, shared;

	if (((uintptr_t)uaddr | len) & (page_size() - 1))
		return (EINVAL);
	if (len / page_size() > BPF_MAX_PAGES)
		return (EINVAL);
	if (!zbuf_writable(uaddr, len, &shared))
		return (EFAULT);
	b = calloc(1, sizeof(*b));
	if (b == NULL)
		abort();
	b->b_uaddr = uaddr;
	b->b_size = len;
	b->b_memfd = -1;
	b->b_inherit = shared ? 0 : 1;
	if (!sim_alias)
		b->b_kva = uaddr;
	else if (shared) {
		/* An old size of 0 makes a second mapping of shared memory. */
		b->b_kva = mremap(uaddr, 0, len, MREMAP_MAYMOVE);
		if (b->b_kva == MAP_FAILED) {
			b->b_kva = NULL;
			error = EFAULT;
		}
	} else
		error = zbuf_take_over(b);
	b->b_header = (struct bpf_zbuf_header *)(void *)b->b_kva;
	if (error != 0) {
		zbuf_free(b);
		free(b);
		return (error);
	}
	b->b_data = b->b_kva + sizeof(*b->b_header);
	memset(b->b_kva, 0, sizeof(*b->b_header));
	*bp = b;
	return (0);
}

/* zbuf_free(): the user's mapping is his business. */
void
zbuf_free(struct buf *b)
{
	if (b->b_kva != NULL && b->b_kva != b->b_uaddr)
		(void)__real_munmap(b->b_kva, b->b_size);
	if (b->b_memfd >= 0)
		(void)__real_close(b->b_memfd);
}

/* bpf_zerocopy_ioctl_setzbuf(): once only */
int
bpf_zerocopy_setzbuf(struct bpf_d *d, const struct bpf_zbuf *bz)
{
	struct buf *a = NULL, *b = NULL;
	int error;

	if (bz->bz_bufa == NULL || bz->bz_bufb == NULL || bz->bz_buflen == 0)
		return (EINVAL);
	error = zbuf_setup(bz->bz_bufa, bz->bz_buflen, &a);
	if (error == 0)
		error = zbuf_setup(bz->bz_bufb, bz->bz_buflen, &b);
	pthread_mutex_lock(&d->bd_lock);
	if (error == 0 && (d->bd_sbuf != NULL || d->bd_hbuf != NULL ||
	    d->bd_fbuf != NULL || d->bd_bif != NULL))
		error = EINVAL;
	if (error == 0) {
		/* The first buffer to be filled is the first one given. */
		d->bd_sbuf = a;
		d->bd_fbuf = b;
		d->bd_slen = d->bd_hlen = 0;
		d->bd_bufsize = (u_int)(bz->bz_buflen - sizeof(struct bpf_zbuf_header));
	}
	pthread_mutex_unlock(&d->bd_lock);
	if (error != 0) {
		buf_free(a);
		buf_free(b);
	}
	return (error);
}

/*
 * bpf_zerocopy_ioctl_rotzbuf(): only if nothing is held.  An acknowledged
 * buffer that no packet has freed yet counts as held: hence the stall.
 */
void
bpf_zerocopy_rotzbuf(struct bpf_d *d, struct bpf_zbuf *bz)
{
	memset(bz, 0, sizeof(*bz));
	pthread_mutex_lock(&d->bd_lock);
	if (d->bd_hbuf == NULL && d->bd_slen != 0) {
		bpf_rotate(d);
		bz->bz_bufa = d->bd_hbuf->b_uaddr;
		bz->bz_buflen = d->bd_hlen;
		outside_update(d);
	}
	pthread_mutex_unlock(&d->bd_lock);
}

/*
 * The user unmaps a buffer while the kernel has it.  Wired pages stay; where
 * we write to the user's addresses, a copy has to do.
 */
static void
buf_unmapped(struct buf *b, const u_char *addr, size_t len)
{
	u_char *copy;

	if (b == NULL || b->b_header == NULL || b->b_kva != b->b_uaddr ||
	    addr + len <= b->b_uaddr || b->b_uaddr + b->b_size <= addr)
		return;
	copy = __real_mmap(NULL, b->b_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (copy == MAP_FAILED)
		abort();
	memcpy(copy, b->b_kva, b->b_size);
	b->b_kva = copy;
	b->b_header = (struct bpf_zbuf_header *)(void *)copy;
	b->b_data = copy + sizeof(*b->b_header);
}

void
zbuf_unmapped(u_char *addr, size_t len)
{
	struct bpf_d *d;

	sim_lock();
	LIST_FOREACH(d, &sim_ds, d_all) {
		pthread_mutex_lock(&d->bd_lock);
		buf_unmapped(d->bd_sbuf, addr, len);
		buf_unmapped(d->bd_hbuf, addr, len);
		buf_unmapped(d->bd_fbuf, addr, len);
		pthread_mutex_unlock(&d->bd_lock);
	}
	sim_unlock();
}

#define MAX_RANGES	64

struct range {
	size_t	start, end;		/* offsets in the buffer */
};

/*
 * Which parts of the user's mapping are shared; -1 unless all of it is still
 * there.
 */
static int
zbuf_shared(const struct buf *b, struct range *r)
{
	unsigned long from, to, base = (unsigned long)b->b_uaddr, at = base, end = base + b->b_size;
	char line[512], perms[5];
	FILE *maps;
	int n = 0;

	maps = fopen("/proc/self/maps", "re");
	if (maps == NULL)
		return (-1);
	while (at < end && fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, perms) != 3 || to <= at)
			continue;
		if (from > at || strstr(line, "bpfsim-zbuf") == NULL)
			break;
		if (perms[3] == 's' && n < MAX_RANGES)
			r[n++] = (struct range){ at - base, (to < end ? to : end) - base };
		at = to;
	}
	(void)fclose(maps);
	return (at >= end ? n : -1);
}

static void
zbuf_map(const struct buf *b, size_t offset, size_t len, int flags)
{
	if (len > 0 && __real_mmap(b->b_uaddr + offset, len, PROT_READ | PROT_WRITE,
	    flags | MAP_FIXED, b->b_memfd, (off_t)offset) == MAP_FAILED)
		abort();
}

/*
 * Before a fork: from now on a page of private memory that the user writes to
 * is copied, and the kernel keeps the old one.
 */
void
zbuf_fork(struct buf *b)
{
	struct range r[MAX_RANGES];
	int i, n;

	if (b == NULL || b->b_memfd < 0 || b->b_inherit != 1 || b->b_private)
		return;
	/* Copies that an earlier fork has left stay as they are. */
	n = zbuf_shared(b, r);
	for (i = 0; i < n; i++)
		zbuf_map(b, r[i].start, r[i].end - r[i].start, MAP_PRIVATE);
	b->b_private = n > 0;
}

/* Whether a page of a private mapping was written to, and is a copy now. */
static int
is_copy(int pagemap, const u_char *page)
{
	uint64_t entry;

	if (pread(pagemap, &entry, sizeof(entry),
	    (off_t)((uintptr_t)page / page_size() * sizeof(entry))) != sizeof(entry))
		return (1);
	/* Bit 63: present; 62: swapped; 61: of a file, or shared. */
	return ((entry >> 62) != 0 && ((entry >> 61) & 1) == 0);
}

/*
 * The last child is gone.  Pages that were not written to meanwhile are the
 * kernel's still, and writes to them reach it again; copies stay copies.
 */
void
zbuf_rejoin(struct buf *b)
{
	struct range r[MAX_RANGES];
	size_t at, start = 0;
	int pagemap;

	if (b == NULL || !b->b_private)
		return;
	b->b_private = 0;
	if (zbuf_shared(b, r) < 0)
		return;
	pagemap = __real_open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	if (pagemap < 0)
		return;
	for (at = 0; at < b->b_size; at += page_size()) {
		if (!is_copy(pagemap, b->b_uaddr + at))
			continue;
		zbuf_map(b, start, at - start, MAP_SHARED);
		start = at + page_size();
	}
	zbuf_map(b, start, b->b_size - start, MAP_SHARED);
	(void)__real_close(pagemap);
}
