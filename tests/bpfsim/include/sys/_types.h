/*
 * gcc's <stddef.h> asks for it where __FreeBSD__ is defined.  glibc's types
 * come from elsewhere.
 */
