// The wall's clockwork: a worker, because browsers slow the timers of a hidden page down to one a
// second or a minute, but not those of a worker.
setInterval(() => postMessage(0), 100);
