/* A stand-in for NVIDIA's libnvidia-ml.so.1: one GPU, whose state a test sets. Signatures are those of nvml.h. */
#include <string.h>

typedef struct { int unused; } *nvmlDevice_t;
typedef struct { int unused; } *nvmlEventSet_t;
typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned int gpuInstanceId, computeInstanceId;
} nvmlEventData_t;
enum { SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TIMEOUT = 10 };

static int gpu, events, initialised, registered, supported = 1;
static unsigned int clock_mhz = 1980, temperature_c = 61, waited_ms;
static unsigned long long xids[8];
static int first, count;

/* What tests call. */
void set_gpu(unsigned int mhz, unsigned int celsius, int is_supported) {
    clock_mhz = mhz; temperature_c = celsius; supported = is_supported;
}
void raise_xid(unsigned long long xid) { xids[count++ % 8] = xid; }
unsigned int last_wait_ms(void) { return waited_ms; }

/* What NVML has. */
int nvmlInit_v2(void) { initialised = 1; return SUCCESS; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *address, nvmlDevice_t *device) {
    if (!initialised) return UNINITIALIZED;
    if (strcmp(address, "0000:1b:00.0")) return NOT_FOUND;
    *device = (nvmlDevice_t)&gpu;
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(nvmlDevice_t device, int kind, unsigned int *mhz) {
    if (device != (nvmlDevice_t)&gpu || kind != 1) return INVALID_ARGUMENT;
    if (!supported) return NOT_SUPPORTED;
    *mhz = clock_mhz;
    return SUCCESS;
}
int nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned int *celsius) {
    if (device != (nvmlDevice_t)&gpu || sensor != 0) return INVALID_ARGUMENT;
    *celsius = temperature_c;
    return SUCCESS;
}
int nvmlEventSetCreate(nvmlEventSet_t *set) { *set = (nvmlEventSet_t)&events; return SUCCESS; }
int nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set) {
    if (device != (nvmlDevice_t)&gpu || types != 8 || set != (nvmlEventSet_t)&events) return INVALID_ARGUMENT;
    if (!supported) return NOT_SUPPORTED;
    registered = 1;
    return SUCCESS;
}
int nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned int timeout_ms) {
    if (set != (nvmlEventSet_t)&events || !registered) return INVALID_ARGUMENT;
    waited_ms = timeout_ms;
    if (first == count) return TIMEOUT;
    *data = (nvmlEventData_t){(nvmlDevice_t)&gpu, 8, xids[first++ % 8], ~0u, ~0u};
    return SUCCESS;
}
