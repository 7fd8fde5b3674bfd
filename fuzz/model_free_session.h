#pragma once

#include "engine/session.h"

namespace bifocal::fuzz {

// A session that has the numbers of a model and no model: what wire formats ask of one while they
// read and write. model_free_session.cpp defines those members of Session in place of the engine's.
engine::Session model_free_session();

}  // namespace bifocal::fuzz
