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

#pragma GCC visibility pop

#endif
