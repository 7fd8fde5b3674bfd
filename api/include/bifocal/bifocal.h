#pragma once
// Bifocal: a picture, a text, or both together into one vector, a match score or a class.
// Include this; link bifocal::bifocal.

#include "bifocal/error.h"
#include "bifocal/model.h"
#include "bifocal/options.h"
#include "bifocal/result.h"
#include "bifocal/values.h"
#include "bifocal/version.h"
