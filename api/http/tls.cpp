#include "tls.h"

#include <openssl/ssl.h>

#include <string>

#include "bifocal/error.h"

namespace bifocal::http {

namespace ssl = boost::asio::ssl;

std::shared_ptr<ssl::context> open_tls(const Settings& settings) {
  if (settings.tls_certificate.empty()) return nullptr;
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  boost::system::error_code error;
  context->set_options(ssl::context::default_workarounds | ssl::context::no_sslv2 |
                       ssl::context::no_sslv3 | ssl::context::no_tlsv1 | ssl::context::no_tlsv1_1 |
                       ssl::context::no_compression);
  ::SSL_CTX_set_min_proto_version(context->native_handle(), TLS1_2_VERSION);
  // Forward secrecy and authenticated encryption for TLS 1.2; 1.3 has nothing else.
  ::SSL_CTX_set_cipher_list(context->native_handle(), "ECDHE+AESGCM:ECDHE+CHACHA20");
  context->use_certificate_chain_file(settings.tls_certificate, error);
  if (error)
    throw Error(ErrorCode::kInvalidArgument,
                "tls-certificate: " + settings.tls_certificate +
                    " is not a readable certificate chain in PEM",
                error.message());
  context->use_private_key_file(settings.tls_key, ssl::context::pem, error);
  if (error)
    throw Error(ErrorCode::kInvalidArgument,
                "tls-key: " + settings.tls_key +
                    " is not a readable private key in PEM, or not the certificate's",
                error.message());
  return context;
}

}  // namespace bifocal::http
