#pragma once

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace bifocal::http {

// Whether an address is one of the public internet: not of this machine, a private or shared
// network, a link, a cloud's metadata service, a group or a documentation example (the special
// registries of RFC 6890). An IPv6 address that stands for an IPv4 one is judged by that.
bool is_public(const boost::asio::ip::address& address);

// Which hosts and addresses may be connected to on a stranger's word. Immutable; thread-safe.
class AddressPolicy {
 public:
  // `hosts`: a name, "*.name" for all below it, or "*" for all; ":port" behind it allows that port
  // instead of the scheme's own. `networks`: CIDR; what lies in one is allowed although it is not
  // public. Throws Error(kInvalidArgument) naming the entry that cannot be read.
  AddressPolicy(const std::vector<std::string>& hosts, const std::vector<std::string>& networks);

  bool allows_nothing() const noexcept { return hosts_.empty(); }
  bool allows_host(std::string_view host, std::uint16_t port, std::uint16_t default_port) const;
  bool allows_address(const boost::asio::ip::address& address) const;

 private:
  struct Host {
    std::string name;  // in lower case; ".example.org" for all below it; empty for all
    bool any = false;
    std::uint16_t port = 0;  // 0: the scheme's own
  };
  std::vector<Host> hosts_;
  std::vector<boost::asio::ip::network_v4> networks4_;
  std::vector<boost::asio::ip::network_v6> networks6_;
};

}  // namespace bifocal::http
