// What hwlut.verify.proofs proves of a design's ports: each output says, in a cycle, that a promise is broken.
// `known` is high once reset has been active at a clock edge; before that a design promises nothing.

// tvalid, once high, and the payload with it stay until tready, but for a reset and for what `excused` withdraws.
module hwlut_holds #(parameter WIDTH = 1) (
    input clk, input reset, input known, input excused,
    input valid, input ready, input [WIDTH-1:0] payload,
    output broken
);
  reg waiting = 0;
  reg [WIDTH-1:0] before;
  always @(posedge clk) begin
    waiting <= known & !reset & valid & !ready;
    before <= payload;
  end
  assign broken = waiting & !excused & (!valid | payload != before);
endmodule

// A signal is low in the cycle after a reset.
module hwlut_silent (input clk, input reset, input signal, output broken);
  reg was_reset = 0;
  always @(posedge clk) was_reset <= reset;
  assign broken = was_reset & signal;
endmodule

// What has entered and not yet left, counted since the last reset, is from 0 to MOST. By `slots`, where SLOTS is not 0,
// the solver finds the proof: as many of them are taken.
module hwlut_keeps #(parameter MOST = 1, parameter BITS = 8, parameter SLOTS = 0) (
    input clk, input reset, input known, input entered, input left, input [SLOTS:0] slots,
    output broken
);
  reg [BITS-1:0] held;
  reg [BITS-1:0] taken;
  integer slot;
  always @(posedge clk) held <= reset ? 0 : held + entered - left;
  always @* begin
    taken = 0;
    for (slot = 0; slot < SLOTS; slot = slot + 1) taken = taken + slots[slot];
  end
  assign broken = known & (held > MOST | (SLOTS != 0 & held != taken));
endmodule

// A write of CLEAR by the register port has withdrawn what waits: its response comes in this cycle.
module hwlut_cleared #(parameter BIT = 0) (
    input clk, input reset,
    input wvalid, input wready, input [31:0] wdata, input [3:0] wstrb, input bvalid, input [1:0] bresp,
    output cleared
);
  reg asked = 0;
  reg answered = 0;
  always @(posedge clk) begin
    if (reset) asked <= 0;
    else if (wvalid & wready) asked <= wdata[BIT] & wstrb[BIT / 8];
    answered <= bvalid;
  end
  assign cleared = asked & bvalid & !answered & bresp == 0;
endmodule
