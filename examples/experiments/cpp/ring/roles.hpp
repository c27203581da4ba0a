// The three parts a process of this benchmark can play; each returns when the run is over, or throws.
#pragma once

#include "options.hpp"

void run_manager(const Options& options);
void run_driver(const Options& options);
void run_worker(const Options& options);
