#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "engine/engine.h"
#include "engine/session.h"

namespace bifocal::http {

// Waits on the coroutine's strand for what the engine will say on a thread of its own. Ends early,
// with nothing, when the coroutine is cancelled or the deadline passes; the work is then called
// off. `start` is given the callback and returns the ticket; what it throws comes out of here.
template <typename T>
boost::asio::awaitable<std::optional<engine::Answer<T>>> await_answer(
    engine::Engine& engine, std::optional<engine::Clock::time_point> deadline,
    std::function<engine::Ticket(engine::Done<T>)> start) {
  using Signature = void(std::exception_ptr, std::optional<engine::Answer<T>>);
  auto initiate = [&engine, deadline](auto handler,
                                      std::function<engine::Ticket(engine::Done<T>)> begin) {
    using Handler = decltype(handler);
    using Executor = boost::asio::associated_executor_t<Handler>;
    const Executor executor = boost::asio::get_associated_executor(handler);
    // Touched on the strand alone.
    struct Waiting {
      explicit Waiting(Handler given, const Executor& strand)
          : handler(std::move(given)), work(strand), timer(strand) {}
      void finish(std::exception_ptr failure, std::optional<engine::Answer<T>> answer) {
        if (!handler) return;
        timer.cancel();
        boost::asio::get_associated_cancellation_slot(*handler).clear();
        Handler told = std::move(*handler);
        handler.reset();
        work.reset();
        told(std::move(failure), std::move(answer));
      }
      std::optional<Handler> handler;
      boost::asio::executor_work_guard<Executor> work;
      boost::asio::steady_timer timer;
      engine::Ticket ticket;
    };
    auto waiting = std::make_shared<Waiting>(std::move(handler), executor);
    try {
      waiting->ticket = begin([waiting, executor](engine::Answer<T> answer) {
        boost::asio::post(executor, [waiting, answer = std::move(answer)]() mutable {
          waiting->finish(nullptr, std::move(answer));
        });
      });
    } catch (...) {
      boost::asio::post(executor, [waiting, failure = std::current_exception()] {
        waiting->finish(failure, std::nullopt);
      });
      return;
    }
    const auto give_up = [waiting, &engine, executor] {
      boost::asio::post(executor, [waiting, &engine] {
        if (!waiting->handler) return;
        engine.cancel(waiting->ticket);
        waiting->finish(nullptr, std::nullopt);
      });
    };
    auto slot = boost::asio::get_associated_cancellation_slot(*waiting->handler);
    if (slot.is_connected()) slot.assign([give_up](boost::asio::cancellation_type) { give_up(); });
    if (deadline) {
      waiting->timer.expires_at(*deadline);
      waiting->timer.async_wait([give_up](const boost::system::error_code& error) {
        if (!error) give_up();
      });
    }
  };
  co_return co_await boost::asio::async_initiate<const boost::asio::use_awaitable_t<>, Signature>(
      std::move(initiate), boost::asio::use_awaitable, std::move(start));
}

}  // namespace bifocal::http
