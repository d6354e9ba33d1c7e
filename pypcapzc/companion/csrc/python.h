/*
 * Python's C API without its headers: the functions are handed over by their addresses, so that one build serves
 * every version of the interpreter.  They are called with its lock held (ctypes.PyDLL).
 */
#ifndef pypcapzc_python_h
#define pypcapzc_python_h

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

typedef void object;
typedef ssize_t py_ssize;

/* companion.Api in __init__.py has the same fields. */
struct api {
	object	*(*type_from_spec)(void *);
	object	*(*alloc)(object *, py_ssize);			/* PyType_GenericAlloc */
	object	*(*type_of)(object *);				/* PyObject_Type: a new reference */
	py_ssize (*hash)(object *);
	void	(*object_free)(void *);
	void	(*incref)(object *);				/* of NULL it takes no notice, nor does: */
	void	(*decref)(object *);
	object	*(*bytes)(const char *, py_ssize);
	char	*(*bytes_memory)(object *);			/* PyBytes_AsString */
	object	*(*from_u64)(unsigned long long);
	unsigned long long (*as_u64)(object *);
	object	*(*from_double)(double);
	object	*(*slice)(object *, py_ssize, py_ssize);	/* PySequence_GetSlice */
	object	*(*tuple_new)(py_ssize);
	int	(*tuple_set)(object *, py_ssize, object *);	/* takes the reference */
};

extern struct api pczc_py;
extern size_t pczc_head;	/* bytes of an object before what its type adds */
extern int pczc_parallel;	/* no interpreter's lock keeps two threads out of one object */

/*
 * Objects that were handed out and that a program may have let go of since: then they are filled anew, which takes
 * less time than to make one.  See reuse.c.
 */
#define PAIRED		2	/* a loop has one packet in its hands while the next one is made */
#define LEAST		9	/* log2 of bytes: Python's own allocator is fast up to 512 */
#define SIZES		8	/* powers of 2 from there on; larger packets are always new */

struct cell {
	object		*made;
	uint32_t	size;		/* room for so many bytes */
};

struct cells {
	struct cell	packets[SIZES][PAIRED];
	struct cell	records[PAIRED];
	object		*times[PAIRED];
	uint32_t	turn;		/* whose time is next */
	object		*tuple;
};

/* They give a new reference, or NULL with the exception set. */
object	*pczc_time(struct cells *, uint64_t);
object	*pczc_packet(struct cells *, const char *, uint32_t);
object	*pczc_record(struct cells *, object *, const void *, uint32_t);
object	*pczc_tuple(struct cells *, object *const *, int);	/* takes the references */
void	pczc_forget(struct cells *);
void	pczc_learn(void);

#pragma GCC visibility pop

#endif
