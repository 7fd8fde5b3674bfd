#pragma once

#include <boost/asio/ssl/context.hpp>
#include <memory>

#include "settings.h"

namespace bifocal::http {

// TLS 1.2 and 1.3 with the certificate chain and key of the settings; null where there are none.
// Throws Error(kInvalidArgument) naming the file that cannot be used.
std::shared_ptr<boost::asio::ssl::context> open_tls(const Settings& settings);

}  // namespace bifocal::http
