/* The Python module of the compiled kernels: it names them, and passes arrays to them.
 *
 * numba compiled each kernel together with a function that Python can call. That function needs the
 * helpers below, which in a process with numba come from numba. TABLE is written by build.py.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static void set_error(PyObject *type, const char *message) {
    PyObject *text = PyUnicode_FromString(message);
    if (text != NULL) PyErr_SetObject(type, text);
    Py_XDECREF(text);
}

/* numpy's header is not to take the functions below for Python's. */
#define PyErr_SetString set_error
#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#include <numpy/arrayobject.h>
#undef PyErr_SetString

/* In a process with numba, the name of an exception means the exception. Here it means the variable
 * of Python that points to it, so these three follow the pointer. */
void PyErr_SetString(PyObject *type, const char *message) {
    set_error(*(PyObject **)type, message);
}

void PyErr_SetNone(PyObject *type) { PyErr_SetObject(*(PyObject **)type, NULL); }

PyObject *PyErr_Format(PyObject *type, const char *format, ...) {
    va_list values;
    va_start(values, format);
    PyErr_FormatV(*(PyObject **)type, format, values);
    va_end(values);
    return NULL;
}

/* An array as kernels take it: then come the lengths and the strides of its dimensions. */
typedef struct {
    void *meminfo;
    PyObject *parent;
    npy_intp items;
    npy_intp itemsize;
    void *data;
    npy_intp shape_and_strides[];
} Array;

int numba_adapt_ndarray(PyObject *object, Array *array) {
    if (!PyArray_Check(object)) return -1;
    PyArrayObject *from = (PyArrayObject *)object;
    int dimensions = PyArray_NDIM(from);
    array->meminfo = NULL;
    array->parent = object;
    array->items = PyArray_SIZE(from);
    array->itemsize = PyArray_ITEMSIZE(from);
    array->data = PyArray_DATA(from);
    for (int i = 0; i < dimensions; i++) {
        array->shape_and_strides[i] = PyArray_DIM(from, i);
        array->shape_and_strides[dimensions + i] = PyArray_STRIDE(from, i);
    }
    return 0;
}

void numba_gil_ensure(PyGILState_STATE *state) { *state = PyGILState_Ensure(); }

void numba_gil_release(PyGILState_STATE *state) { PyGILState_Release(*state); }

/* Kernels raise nothing; if one did, its caller would get a SystemError. */
static PyObject *fail(void) {
    set_error(PyExc_SystemError, "a compiled kernel raised an exception");
    return NULL;
}

PyObject *numba_unpickle(const char *data, int size, const char *hash) {
    (void)data, (void)size, (void)hash;
    return fail();
}

PyObject *numba_runtime_build_excinfo_struct(PyObject *info, PyObject *values) {
    (void)info, (void)values;
    return fail();
}

int numba_do_raise(PyObject *info) {
    (void)info;
    fail();
    return 0;
}

/* Where a kernel would find its Python objects; no kernel has any. */
static void *nothing[16];

#define KERNEL(name, wrapper, environment) \
    extern void *environment; \
    extern PyObject *wrapper(PyObject *, PyObject *, PyObject *);
TABLE
#undef KERNEL

#define KERNEL(name, wrapper, environment) \
    {name, (PyCFunction)(void (*)(void))wrapper, METH_VARARGS | METH_KEYWORDS, NULL},
static PyMethodDef kernels[] = {TABLE{NULL, NULL, 0, NULL}};
#undef KERNEL

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "compiled_kernels", NULL, -1, kernels, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_compiled_kernels(void) {
    import_array();
#define KERNEL(name, wrapper, environment) environment = nothing;
    TABLE
#undef KERNEL
    return PyModule_Create(&module);
}
