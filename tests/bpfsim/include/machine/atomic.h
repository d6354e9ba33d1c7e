/*
 * The part of FreeBSD's <machine/atomic.h> that programs use on the buffers
 * they share with BPF.
 */
#ifndef _MACHINE_ATOMIC_H_
#define _MACHINE_ATOMIC_H_

#include <sys/types.h>
#include <stdint.h>

#define BSD_ATOMIC(name, type)						\
static inline type							\
atomic_load_acq_##name(const volatile type *p)				\
{									\
	return (__atomic_load_n(p, __ATOMIC_ACQUIRE));			\
}									\
static inline void							\
atomic_store_rel_##name(volatile type *p, type v)			\
{									\
	__atomic_store_n(p, v, __ATOMIC_RELEASE);			\
}									\
static inline void							\
atomic_add_##name(volatile type *p, type v)				\
{									\
	(void)__atomic_fetch_add(p, v, __ATOMIC_RELAXED);		\
}									\
static inline void							\
atomic_add_rel_##name(volatile type *p, type v)				\
{									\
	(void)__atomic_fetch_add(p, v, __ATOMIC_RELEASE);		\
}									\
static inline type							\
atomic_fetchadd_##name(volatile type *p, type v)			\
{									\
	return (__atomic_fetch_add(p, v, __ATOMIC_RELAXED));		\
}									\
static inline int							\
atomic_cmpset_##name(volatile type *p, type old, type new)		\
{									\
	return (__atomic_compare_exchange_n(p, &old, new, 0,		\
	    __ATOMIC_RELAXED, __ATOMIC_RELAXED));			\
}

BSD_ATOMIC(int, u_int)
BSD_ATOMIC(32, uint32_t)
BSD_ATOMIC(64, uint64_t)
BSD_ATOMIC(long, u_long)

#undef BSD_ATOMIC

#define atomic_load_int(p)	__atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_store_int(p, v)	__atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_load_short(p)	__atomic_load_n((p), __ATOMIC_RELAXED)
#define atomic_store_short(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define atomic_thread_fence_acq() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define atomic_thread_fence_rel() __atomic_thread_fence(__ATOMIC_RELEASE)

#endif /* _MACHINE_ATOMIC_H_ */
